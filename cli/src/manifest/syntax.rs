//! Syntax: what the parser of YAML complains about, in Chinese beside its own English.

use serde_saphyr::granit_parser::{ErrorKind, ScanError};

use super::sentence::Words;

/// Says what is wrong. A complaint that has no translation stays in English.
pub(super) fn words(error: &ScanError) -> Words {
    let english = error.info();
    let kind = error.kind();
    let chinese = of_bracket(kind)
        .or_else(|| of_collection(kind).or_else(|| of_scalar(kind)).map(str::to_owned))
        .or_else(|| of_place(kind).map(str::to_owned));
    Words { chinese: chinese.unwrap_or_else(|| english.clone()), english }
}

fn of_bracket(kind: &ErrorKind) -> Option<String> {
    Some(match kind {
        ErrorKind::UnclosedFlowCollection { open } => format!("括号 '{open}' 没有闭合"),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            format!("括号 '{open}' 以 '{close}' 闭合，两者不匹配")
        }
        ErrorKind::MisplacedFlowCollectionEnd => "多余的闭合括号".to_owned(),
        _ => return None,
    })
}

const fn of_collection(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::UnexpectedEofFlowSequence | ErrorKind::UnexpectedEofBlockSequence => {
            "列表未写完文件就结束了"
        }
        ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::UnexpectedEofBlockMapping => "映射未写完文件就结束了",
        ErrorKind::UnexpectedEof => "文件意外结束",
        ErrorKind::ExpectedNodeContent => "此处应有值",
        ErrorKind::ExpectedBlockMappingKey => "此处应有字段名",
        ErrorKind::ExpectedFlowMappingSeparator => "映射中缺少 ',' 或 '}'",
        ErrorKind::ExpectedFlowSequenceSeparator => "列表中缺少 ',' 或 ']'",
        ErrorKind::ExpectedBlockSequenceEntry => "列表中缺少 '-'",
        ErrorKind::BlockEntryInFlowCollection => "括号内不能使用 '-' 列表项",
        ErrorKind::BlockSequenceEntryNotAllowed => "此处不能使用 '-' 列表项",
        ErrorKind::InvalidBlockEntryWhitespace => "'-' 之后必须有空格或换行",
        ErrorKind::SimpleKeyExpected => "字段名之后缺少 ':'",
        ErrorKind::InvalidSimpleKey => "字段名过长或跨行，不能作为字段名",
        ErrorKind::MappingKeyNotAllowed => "此处不能写字段名",
        ErrorKind::MappingValueNotAllowed => "此处不能写字段的值，多了一个 ':'",
        ErrorKind::FlowMappingValueAdjacentCollection => "映射中 ':' 之后不能紧接 '[' 或 '{'",
        ErrorKind::InvalidMappingValueWhitespace => "':' 之后必须有空格或换行",
        ErrorKind::InvalidColonPlacement => "':' 的位置不对",
        _ => return None,
    })
}

const fn of_scalar(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::ZeroBlockScalarIndent => "多行文本的缩进不能为 0",
        ErrorKind::InvalidBlockScalarHeader => "'|' 或 '>' 之后必须换行或写注释",
        ErrorKind::InvalidBlockScalarIndent => "多行文本中某行的缩进不对",
        ErrorKind::DocumentIndicatorInQuotedScalar => "引号内不能有文档分隔行",
        ErrorKind::UnclosedQuotedScalar => "引号没有闭合",
        ErrorKind::InvalidQuotedScalarIndent => "引号内多行文本的缩进不对",
        ErrorKind::InvalidTrailingSingleQuotedScalar => "单引号之后有多余内容",
        ErrorKind::InvalidTrailingDoubleQuotedScalar => "双引号之后有多余内容",
        ErrorKind::UnknownQuotedScalarEscape => "双引号内有未知的转义字符",
        ErrorKind::InvalidQuotedScalarHexEscape
        | ErrorKind::InvalidLowSurrogateHexEscape
        | ErrorKind::InvalidLowSurrogate
        | ErrorKind::MissingLowSurrogate
        | ErrorKind::UnpairedLowSurrogate
        | ErrorKind::InvalidUnicodeEscape => "双引号内的字符编码转义不对",
        ErrorKind::PlainScalarStartsWithDashFlowIndicator => {
            "不加引号的文本不能以 '-' 加括号或逗号开头"
        }
        ErrorKind::TabInPlainScalar => "不加引号的文本中有制表符",
        ErrorKind::UnexpectedEndOfPlainScalar => "文本意外结束",
        ErrorKind::CommentInterceptedScalar => "注释打断了多行文本",
        _ => return None,
    })
}

const fn of_place(kind: &ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::ExpectedDocumentStart => "此处应是文档开头",
        ErrorKind::InvalidDocumentEnd => "文档结束标记之后有多余内容",
        ErrorKind::InvalidIndentation | ErrorKind::InvalidFlowScalarIndent => "缩进不对",
        ErrorKind::BomInsideDocument => "文档中间不能有字节序标记（BOM）",
        ErrorKind::UnexpectedCharacter { .. } => "此处有不该出现的字符",
        ErrorKind::ExpectedWhitespace => "此处应有空格",
        ErrorKind::CommentNotSeparated => "注释之前必须有空格",
        ErrorKind::MissingAnchorOrAliasName => "锚点或别名缺少名称",
        ErrorKind::ExpectedTagBang
        | ErrorKind::InvalidGlobalTagCharacter
        | ErrorKind::InvalidTagTerminator
        | ErrorKind::MissingTagUri
        | ErrorKind::UnclosedVerbatimTag
        | ErrorKind::InvalidTagEscape
        | ErrorKind::UndeclaredTagHandle => "以 ! 开头的类型标签写法不对",
        _ => return None,
    })
}
