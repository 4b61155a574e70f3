//! Sentences: what is said of a manifest, in English and Chinese, side by side.
//!
//! A fault keeps its sentence as a value, so that it is put into words only where a person reads it.
//! In Chinese what is expected and what was found begin with a Chinese word, so that they can stand
//! behind one without a space.

use tengyun_model::template::{TemplateError, TemplateProblem};
use tengyun_model::{CronFault, CronField};

use super::suggest::choice;
use crate::text::Language;

/// Something that has words in each language.
trait Said {
    /// Says it.
    fn said(&self, language: Language) -> String;
}

/// Words that come from elsewhere: a field's documentation, a parser's complaint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) english: String,
    pub(super) chinese: String,
}

/// Names in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names(Vec<String>);

/// Words of which one is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice(pub(super) Vec<&'static str>);

macro_rules! sentences {
    ($($name:ident { $($field:ident: $type:ty),* } $english:literal $chinese:literal)*) => {
        /// One sentence, or a part of one, with its arguments.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(super) enum Sentence {
            $(
                /// A sentence of the catalogue.
                $name { $($field: $type),* },
            )*
        }

        impl Sentence {
            /// Says it in a language.
            pub(super) fn text(&self, language: Language) -> String {
                match self {
                    $(
                        Self::$name { $($field),* } => {
                            $(let $field = $field.said(language);)*
                            match language {
                                Language::English => format!($english),
                                Language::Chinese => format!($chinese),
                            }
                        }
                    )*
                }
            }
        }

        /// Every sentence as it stands in the catalogue.
        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $chinese)),*];
    };
}

sentences! {
    InDocument { document: usize } "document {document}" "第 {document} 个文档"
    MoreFaults { count: usize } "and {count} more faults" "另有 {count} 处错误"
    NoWorkload {}
        "holds no workload: write at least its application, department, name, kind and command"
        "没有工作负载，至少要写 application、department、name、kind 和 command"
    WrittenAlready { key: String, first: usize }
        "{key} is written in document {first} already: remove one"
        "{key} 已写在第 {first} 个文档中，请删除其一"
    Verbatim { text: String } "{text}" "{text}"

    TooLarge { most: usize }
        "is larger than {most} bytes: split it into files"
        "超过 {most} 字节，请拆成多个文件"
    NotUtf8 {} "is not UTF-8: save it in that encoding" "不是 UTF-8，请以该编码保存"
    ControlCharacter { character: String }
        "holds the control character {character}: remove it"
        "含有控制字符 {character}，请删除"
    NoAnchors {}
        "anchors and aliases are not supported: write the value where it is used"
        "不支持锚点和别名，请在用到的地方直接写值"
    NoTags {}
        "tags are not supported: write the value without one"
        "不支持以 ! 开头的类型标签，请直接写值"
    NoDirectives {}
        "directives are not supported: remove the line that begins with %"
        "不支持指令，请删除以 % 开头的行"
    NoTabs {} "a tab may not indent: use spaces" "不能用制表符缩进，请用空格"
    TooManyDocuments { most: usize }
        "has more than {most} documents: split the file"
        "文档超过 {most} 个，请拆分文件"
    TooManyValues { most: usize }
        "holds more than {most} values: split the file"
        "值超过 {most} 个，请拆分文件"
    TooDeep { most: usize }
        "is nested deeper than {most} levels: no field needs that"
        "嵌套超过 {most} 层，没有字段需要这么深"
    NameNotText {} "the name of a field must be a text" "字段名必须是文本"
    GivenTwiceSince { name: String, first: usize }
        "{name} is given twice, first in line {first}: remove one"
        "{name} 写了两次，首次在第 {first} 行，请删除其一"
    NotYaml { what: Words }
        "is not YAML: {what}: check indentation, colons and quotes"
        "不是合法的 YAML：{what}；请检查缩进、冒号和引号"

    MustBe { expected: Box<Sentence>, found: Box<Sentence> }
        "must be {expected}, not {found}"
        "应为{expected}，而不是{found}"
    MustBeOneOf { words: Choice, found: Box<Sentence> }
        "must be {words}, not {found}"
        "应为 {words}，而不是{found}"
    Near { what: Box<Sentence>, near: &'static str }
        "{what}: did you mean {near}?"
        "{what}；是否指 {near}？"
    NameMustBe { expected: Box<Sentence> } "the name must be {expected}" "名称应为{expected}"
    FoundList {} "a list" "列表"
    FoundMap {} "a map" "映射"
    FoundNothing {} "empty" "空值"
    FoundSingleText {} "a single text" "单个文本"
    FoundText { text: String } "{text}" "文本 {text}"
    FoundNumber { number: String } "the number {number}" "数字 {number}"
    FoundTruthValue { value: String } "the truth value {value}" "布尔值 {value}"
    NoFieldNear { near: String }
        "is no field: did you mean {near}?"
        "没有这个字段；是否指 {near}？"
    NoField { fields: Names }
        "is no field: the fields here are {fields}"
        "没有这个字段，此处的字段有：{fields}"
    Missing { meaning: Words } "is missing: {meaning}" "缺少此字段：{meaning}"
    TooManyItems { count: usize, most: usize }
        "has {count} items: write at most {most}"
        "有 {count} 项，最多写 {most} 项"

    ExpectsMapOf { fields: Names } "a map of {fields}" "含字段 {fields} 的映射"
    ExpectsMapOfMany { fields: Names } "a map of {fields} and so on" "含 {fields} 等字段的映射"
    ExpectsList {}
        "a list: begin each item with '- ', or write [one, two]"
        "列表（每项以 '- ' 开头，或写成 [one, two]）"
    ExpectsMap {}
        "a map: write a name, a colon and a value in each line"
        "映射（每行依次写名称、冒号和值）"
    ExpectsCores {}
        "cores such as 2 or 0.5, or millicores such as 500m, from 1m to 4096"
        "核数（如 2 或 0.5）或毫核数（如 500m），范围从 1m 到 4096"
    ExpectsSize {}
        "whole mebibytes with their unit, such as 64Mi or 1.5Gi (Ki, Mi, Gi, Ti)"
        "带单位的容量（如 64Mi 或 1.5Gi，单位为 Ki、Mi、Gi、Ti，须折合整数个 Mi）"
    ExpectsSeconds {}
        "seconds such as 10 or 0.5, at most 86400"
        "秒数（如 10 或 0.5，最大 86400）"
    ExpectsCount {} "a whole number from 1 to 1000000000" "从 1 到 1000000000 的整数"
    ExpectsInstanceCount {} "a whole number from 0 to 10000" "从 0 到 10000 的整数"
    ExpectsText {}
        "a text (put numbers, true and false in quotes)"
        "文本（数字、true 和 false 要加引号）"
    ExpectsLine {} "a text of one line" "单行文本"
    ExpectsWord {}
        "a text or a number (put null, ~ and nothing in quotes)"
        "文本或数字（null、~ 和空值要加引号）"
    ExpectsName {}
        "a name: at most 63 lower-case letters a-z, digits and inner dashes"
        "名称（最多 63 个字符，只含小写字母 a-z、数字和位于中间的连字符）"
    ExpectsNameKey {}
        "at most 63 lower-case letters a-z, digits and inner dashes"
        "小写字母 a-z、数字和位于中间的连字符组成的文本（最多 63 个字符）"
    ExpectsDepartment {}
        "a path of 1 to 8 names such as city/finance/treasury"
        "由 1 至 8 个名称组成的路径（如 city/finance/treasury）"
    ExpectsReference {}
        "the name of a workload, with its application and department where they differ, such as api, ledger/api or city/finance/ledger/api"
        "工作负载的名称，应用或部门不同时写在前面（如 api、ledger/api 或 city/finance/ledger/api）"
    ExpectsVariable {}
        "letters, digits and underscores, not beginning with a digit, LD_ or TENGYUN_"
        "字母、数字和下划线组成的文本（不以数字、LD_ 或 TENGYUN_ 开头）"
    ExpectsLabel {} "a label: at most 253 bytes on one line" "标签（单行，最多 253 字节）"
    ExpectsLabelValue {}
        "the value of a label: at most 253 bytes on one line"
        "标签的值（单行，最多 253 字节）"
    ExpectsUser {}
        "the name of a user that the servers know, such as www-data"
        "服务器上已有的用户名（如 www-data）"
    ExpectsRelativePath {}
        "a relative path without empty parts, '.' and '..', at most 32 parts deep"
        "相对路径（各级不得为空、'.' 或 '..'，最多 32 级）"
    ExpectsRequestPath {}
        "a path that begins with a slash, without spaces, such as /healthy"
        "以斜杠开头且不含空格的路径（如 /healthy）"
    ExpectsMode {}
        "octal permission bits such as 0644, at most 0777"
        "八进制权限位（如 0644，最大 0777）"
    ExpectsSignal {}
        "the name of a signal such as TERM or SIGINT, or a number from 1 to 31"
        "信号名称（如 TERM 或 SIGINT）或从 1 到 31 的数字"
    ExpectsSha256 {}
        "the SHA-256 of the bytes in 64 lower-case hexadecimal digits (sha256sum prints it)"
        "内容的 SHA-256，即 64 位小写十六进制数（可用 sha256sum 得到）"
    ExpectsUrl {}
        "an address such as https://files.city.example/app.tar.gz"
        "地址（如 https://files.city.example/app.tar.gz）"
    ExpectsFlag {} "true or false" "布尔值 true 或 false"
    ExpectsTimeOfDay {}
        "a time of day such as \"22:30\", in quotes"
        "时刻（如 \"22:30\"，要加引号）"
    ExpectsCron {}
        "five fields in quotes such as \"30 2 * * mon-fri\""
        "加引号的五个字段（如 \"30 2 * * mon-fri\"）"
    ExpectsPort {}
        "a number from 1 to 65535, or a map of name and number such as {{name: http, number: 8080}}"
        "从 1 到 65535 的数字，或含 name 和 number 的映射（如 {{name: http, number: 8080}}）"

    AtLeast { least: &'static str } "must be at least {least}" "不得小于 {least}"
    AtLeastCpu { millicores: u64 }
        "must be at least resources.cpu, which is {millicores}m"
        "不得小于 resources.cpu，即 {millicores}m"
    AtMost { most: u32 } "must be at most {most}" "不得大于 {most}"
    GivenTwice { name: String } "{name} is given twice: remove one" "{name} 写了两次，请删除其一"
    BeginWithProgram { example: &'static str }
        "must begin with a program, such as {example}"
        "必须以程序开头，如 {example}"
    TooManyWords { count: usize, most: usize }
        "has {count} words: write at most {most}"
        "有 {count} 个词，最多写 {most} 个"
    NoNul {} "must not hold a NUL character" "不得含有 NUL 字符"
    NameOfPort {}
        "is what the agent says of the port: choose another name"
        "代理用它告知端口号，请换一个名称"
    KeepSecret {}
        "must not hold a secret, which the journal would keep in clear: keep it with `tengyun secret set`, and list it under secrets"
        "不得含有机密，否则会以明文留在日志中；请用 `tengyun secret set` 保存，并在 secrets 中列出"
    PortTaken { first: usize }
        "has the number or name of ports[{first}]: each must be different"
        "与 ports[{first}] 的端口号或名称相同，二者都不得重复"
    TogetherTooLarge { bytes: usize, most: usize }
        "command, env and files have {bytes} bytes together: at most {most} are allowed"
        "command、env 和 files 合计 {bytes} 字节，最多允许 {most} 字节"

    ContentOrSource {} "must have either content or source" "content 和 source 必须且只能写一个"
    FileAlready { path: String }
        "{path} is a file already: it cannot be a directory too"
        "{path} 已是文件，不能同时作为目录"
    CannotRead { path: String, why: Box<Sentence> }
        "cannot read {path} beside the manifest: {why}"
        "无法读取清单旁的 {path}：{why}"
    FileNotThere {} "it is not there" "文件不存在"
    FileNotPlain {} "it is not a plain file" "不是普通文件"
    FileTooLarge { most: usize }
        "it is larger than {most} bytes: fetch it another way"
        "超过 {most} 字节，请改用其他方式获取"

    OneCheck {}
        "must have exactly one of http, tcp and command"
        "http、tcp 和 command 必须且只能写一个"
    NameOneOfPorts {}
        "must be the name of one of the workload's ports"
        "必须是该工作负载的某个端口的名称"
    VolumeNameTaken { first: usize }
        "has the name of volumes[{first}]: each must be different"
        "与 volumes[{first}] 同名，名称不得重复"
    PathsMeet { other: String }
        "meets {other}: a path is a file or a volume, not both"
        "与 {other} 冲突，路径只能是文件或卷之一"
    VolumesWait {}
        "must be wait: what has volumes starts nowhere else"
        "必须为 wait，有卷的工作负载不会在别处启动"
    PortNeedsName {} "needs a name, such as {{name: http}}" "需要名称，如 {{name: http}}"

    MissingSchedule {}
        "is missing: a cron workload starts by {{cron: \"30 2 * * mon-fri\"}}"
        "缺少此字段，cron 类型的工作负载须写启动时间，如 {{cron: \"30 2 * * mon-fri\"}}"
    OnlyForCron {} "is of kind cron only: leave it out" "仅用于 cron 类型，请去掉"
    NotForCron {}
        "is not for the kind cron: each run is another copy"
        "不适用于 cron 类型，每次运行都是不同的副本"
    MissingWindow {}
        "is missing: move is window, such as {{from: \"01:00\", to: \"05:00\"}}"
        "缺少此字段，move 为 window 时必须写，如 {{from: \"01:00\", to: \"05:00\"}}"
    WindowNeedsMove {} "needs move: window beside it" "需要同时写 move: window"
    NameOfTimeZone {}
        "must be the name of a time zone, such as Asia/Shanghai"
        "必须是时区名称，如 Asia/Shanghai"
    OneForKind { kind: String }
        "must be 1 for the kind {kind}: leave it out"
        "{kind} 类型只能为 1，请去掉"
    NotForKind { kind: String }
        "is not for the kind {kind}: leave it out"
        "不适用于 {kind} 类型，请去掉"
    NeverForPerNode {}
        "must be never for the kind per-node: leave it out"
        "per-node 类型只能为 never，请去掉"
    ClassForPerNode {}
        "must be critical or standard for the kind per-node"
        "per-node 类型只能为 critical 或 standard"
    DependsOnItself {} "is the workload itself: remove it" "依赖了工作负载自身，请删除"
    NoGangOfKind { kind: String }
        "is for the kinds service and job, not for {kind}: leave it out"
        "仅用于 service 和 job 类型，不用于 {kind}，请去掉"
    GangTooSmall { least: u32 }
        "needs at least {least} instances: leave it out, or give instances"
        "至少需要 {least} 个实例，请去掉，或写明 instances"
    CronFields { count: usize }
        "must have five fields, not {count}"
        "必须有五个字段，而不是 {count} 个"
    CronRange { field: Box<Sentence>, least: u8, most: u8, text: String }
        "must have a {field} from {least} to {most}, not {text}"
        "{field}应为 {least} 至 {most}，而不是 {text}"
    CronNoDate {}
        "must have a day that its months have"
        "所写的月份中没有所写的日期"
    CronMinute {} "minute" "分钟"
    CronHour {} "hour" "小时"
    CronDay {} "day" "日期"
    CronMonth {} "month" "月份"
    CronWeekday {} "day of the week" "星期"

    ClearSecret {}
        "a secret is never written in a manifest: list references such as {{from: db-password, path: db-password}}"
        "机密内容不得写在清单中，请列出引用，如 {{from: db-password, path: db-password}}"
    UrlOrPath {} "must have either url or path" "url 和 path 必须且只能写一个"
    NoUserInUrl {} "must not hold a user or a password" "不得含有用户名或密码"
    PathOnNode {}
        "must begin with /: it is a path on the node"
        "必须以 / 开头，这是节点上的路径"
    MissingTo {}
        "is missing: the url or path does not end with a name"
        "缺少此字段，因为 url 或 path 不以文件名结尾"
    PathTwice { path: String }
        "the path {path} is given twice: change one"
        "路径 {path} 写了两次，请改掉其一"
    InLine { line: usize, what: Box<Sentence> } "line {line}: {what}" "第 {line} 行：{what}"
    TemplateNotText {} "is not text in UTF-8" "不是 UTF-8 文本"
    TemplateNotClosed {}
        "{{{{ is not closed (write {{{{{{{{ for {{{{)"
        "{{{{ 没有闭合（要写 {{{{ 本身，请写 {{{{{{{{）"
    TemplateNoVariable { name: String }
        "{name} is no variable: there are port.NAME, secret.NAME, secrets, instance, ordinal, workload, name, application, department and node"
        "{name} 不是变量，可用的有 port.NAME、secret.NAME、secrets、instance、ordinal、workload、name、application、department 和 node"
    TemplateNoPort { name: String, known: Names }
        "the workload has no port {name}: it has {known}"
        "该工作负载没有端口 {name}，只有 {known}"
    TemplateNoPorts { name: String }
        "the workload has no port {name}: it has none"
        "该工作负载没有端口 {name}，它没有任何端口"
    TemplateNoSecret { name: String, known: Names }
        "the workload has no secret {name}: it has {known}"
        "该工作负载没有机密 {name}，只有 {known}"
    TemplateNoSecrets { name: String }
        "the workload has no secret {name}: it has none"
        "该工作负载没有机密 {name}，它没有任何机密"
}

impl Sentence {
    /// Says what is wrong with the fields of a schedule.
    pub(super) fn of_cron(fault: CronFault) -> Self {
        match fault {
            CronFault::Fields(count) => Self::CronFields { count },
            CronFault::Range { field, least, most, text } => {
                let field = Box::new(match field {
                    CronField::Minute => Self::CronMinute {},
                    CronField::Hour => Self::CronHour {},
                    CronField::Day => Self::CronDay {},
                    CronField::Month => Self::CronMonth {},
                    CronField::Weekday => Self::CronWeekday {},
                });
                Self::CronRange { field, least, most, text: format!("{text:?}") }
            }
            CronFault::NoDate => Self::CronNoDate {},
        }
    }

    /// Says what is wrong in a template, and in which of its lines.
    pub(super) fn of_template(error: TemplateError) -> Self {
        let quoted = |name: String| format!("{name:?}");
        let what = match error.problem {
            TemplateProblem::NotText => Self::TemplateNotText {},
            TemplateProblem::NotClosed => Self::TemplateNotClosed {},
            TemplateProblem::NoVariable(name) => Self::TemplateNoVariable { name: quoted(name) },
            TemplateProblem::NoPort(name, known) if known.is_empty() => {
                Self::TemplateNoPorts { name: quoted(name) }
            }
            TemplateProblem::NoPort(name, known) => {
                Self::TemplateNoPort { name: quoted(name), known: Names(known) }
            }
            TemplateProblem::NoSecret(name, known) if known.is_empty() => {
                Self::TemplateNoSecrets { name: quoted(name) }
            }
            TemplateProblem::NoSecret(name, known) => {
                Self::TemplateNoSecret { name: quoted(name), known: Names(known) }
            }
        };
        Self::InLine { line: error.line, what: Box::new(what) }
    }
}

impl Names {
    pub(super) fn new(names: &[impl AsRef<str>]) -> Self {
        Self(names.iter().map(|name| name.as_ref().to_owned()).collect())
    }
}

/// Says what is the same in every language.
macro_rules! same {
    ($($type:ty)*) => {
        $(impl Said for $type {
            fn said(&self, _: Language) -> String {
                self.to_string()
            }
        })*
    };
}

same! { String &'static str usize u8 u32 u64 }

impl Said for Box<Sentence> {
    fn said(&self, language: Language) -> String {
        self.text(language)
    }
}

impl Said for Words {
    fn said(&self, language: Language) -> String {
        match language {
            Language::English => self.english.clone(),
            Language::Chinese => self.chinese.clone(),
        }
    }
}

impl Said for Names {
    fn said(&self, language: Language) -> String {
        self.0.join(language.pick(", ", "、"))
    }
}

impl Said for Choice {
    fn said(&self, language: Language) -> String {
        choice(&self.0, language)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn is_chinese(c: char) -> bool {
        matches!(c, '\u{4e00}'..='\u{9fff}')
    }

    /// Divides a sentence into its arguments and the rest, without the braces that it shows itself.
    fn parts(sentence: &str) -> (BTreeSet<String>, String) {
        let plain = sentence.replace("{{", "").replace("}}", "");
        let mut pieces = plain.split('{');
        let mut rest = pieces.next().unwrap_or_default().to_owned();
        let mut arguments = BTreeSet::new();
        for piece in pieces {
            let (name, after) = piece.split_once('}').expect("an argument ends");
            arguments.insert(name.to_owned());
            rest.push_str(after);
        }
        (arguments, rest)
    }

    /// What stands in backquotes, double quotes or braces is the same in every language.
    fn examples(sentence: &str, quote: char) -> Vec<&str> {
        let parts = sentence.split(quote).enumerate().filter(|(at, _)| at % 2 == 1);
        parts.map(|(_, part)| part).collect()
    }

    #[test]
    fn every_sentence_is_there_in_both_languages_with_the_same_arguments() {
        for (name, english, chinese) in ALL {
            let ((ours, words), (theirs, _)) = (parts(english), parts(chinese));
            assert_eq!(ours, theirs, "{name}");
            assert!(!english.contains(is_chinese), "{name}: {english}");
            let spoken = words.contains(char::is_alphabetic);
            assert!(!spoken || chinese.contains(is_chinese), "{name}: {chinese}");
            for quote in ['`', '"', '\''] {
                // The apostrophe of a genitive opens nothing.
                if quote != '\'' || !english.contains("'s ") {
                    assert_eq!(examples(english, quote), examples(chinese, quote), "{name}");
                }
            }
            let shown = |text: &str| text.split_once("{{").map(|(_, shown)| shown.to_owned());
            let at = |text: &str| shown(text)?.split_once("}}").map(|(shown, _)| shown.to_owned());
            assert_eq!(at(english), at(chinese), "{name} shows another example in Chinese");
        }
    }

    #[test]
    fn no_chinese_sentence_has_english_words_of_its_own() {
        for (name, english, chinese) in ALL {
            let word = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.' | '/');
            let known: BTreeSet<&str> = english.split(word).collect();
            for each in chinese.split(word).filter(|each| each.starts_with(char::is_alphabetic)) {
                let ours =
                    each.split(is_chinese).all(|part| known.contains(part) || part.is_empty());
                assert!(ours, "{name}: {each} in {chinese}");
            }
        }
    }

    #[test]
    fn what_stands_behind_a_chinese_word_begins_with_one() {
        let parts = |name: &str| {
            ["Expects", "Found", "Cron"].iter().any(|prefix| name.starts_with(prefix))
                && !matches!(name, "CronFields" | "CronRange" | "CronNoDate")
        };
        for (name, _, chinese) in ALL.iter().filter(|(name, _, _)| parts(name)) {
            assert!(chinese.starts_with(is_chinese), "{name}: {chinese}");
        }
    }
}
