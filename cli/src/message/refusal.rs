//! Refusals in Chinese: by their stable word and their arguments. English comes from the scheduler, and
//! so does a refusal that this version does not know.

use tengyun_proto::v1;

use crate::text::Language;

/// A refusal's word, what it says, and what would help; `{0}` is its first argument.
const REFUSALS: &[(&str, &str, &str)] = &[
    ("unknown-workload", "没有名为 {0} 的工作负载", "用 `tengyun get workloads` 查看"),
    ("unknown-node", "没有编号为 {0} 的节点", "用 `tengyun get nodes` 查看"),
    ("unknown-instance", "没有编号为 {0} 的实例", "用 `tengyun get instances` 查看"),
    ("operation-reused", "操作号 {0} 已用于另一项请求", "新的请求请用新的操作号"),
    ("deleting", "工作负载 {0} 正在删除", "等它删除后再应用"),
    ("bad-field", "字段 {0} 的值不符合要求：{1}", "改正该字段后重新应用"),
    ("not-supported-yet", "尚不支持：{0}", "请去掉它"),
    ("immutable", "工作负载的这一项不能更改：{0}", "先删除该工作负载，再应用"),
    ("unknown-knob", "没有名为 {0} 的参数", "用 `tengyun policy show` 查看"),
    ("bad-knob", "参数 {0} 的值应为 {1}", "用 `tengyun policy show` 查看取值范围"),
    ("too-many", "数量已达上限 {1}（{0}）", "删除不再需要的"),
    ("no-cpu", "需要 CPU {0}，只剩 {1}", "减少申请，或增加节点"),
    ("no-memory", "需要内存 {0}，只剩 {1}", "减少申请，或增加节点"),
    ("no-disk", "需要磁盘 {0}，只剩 {1}", "减少申请，或增加节点"),
    ("no-pids", "需要 {0} 个进程，只剩 {1} 个", "减少申请，或增加节点"),
    ("port-taken", "端口 {0} 已被占用", "换一个端口，或增加节点"),
    ("no-counter", "需要计数资源 {0} 共 {1}，只剩 {2}", "减少申请，或增加节点"),
    ("no-label", "没有标签 {0}={1}", "给节点加上该标签，或去掉这一约束"),
    ("anti-affinity", "该节点运行着 {0}，两者不得同处", "增加节点，或放宽约束"),
    ("spread", "会使 {0} 的分布相差超过一个", "增加节点，或放宽约束"),
    ("node-away", "节点的代理不在线", "启动它的代理"),
    ("node-not-open", "节点不接收新实例（{0}）", "用 `tengyun uncordon` 重新启用"),
    ("node-lost", "节点已失联", "恢复它；若已断电，执行 `tengyun acknowledge-loss --dead`"),
    ("node-there", "节点 {0} 的代理在线", "无需处理：它没有失联"),
    ("nobody-silent", "没有节点静默到足以认定失联", "用 `tengyun get nodes` 查看"),
    ("already-there", "实例已在该节点", "无需处理"),
    ("held", "{0} 被暂停：启动后不久先后有 {1} 个节点失联", "修复后执行 `tengyun release`"),
    ("no-data", "还不知道节点的用量", "等待它的第一次上报"),
    ("unknown-token", "没有这个令牌", "用 `tengyun token create` 另建一个"),
    ("token-used", "令牌已被使用", "用 `tengyun token create` 另建一个"),
    ("token-expired", "令牌已过期", "用 `tengyun token create` 另建一个"),
    ("token-for-other", "令牌是给 {0} 的", "用 `tengyun token create` 为它另建一个"),
    (
        "name-taken",
        "{0} 已经存在",
        "换一个 --name，或用 `tengyun token create --node NAME` 为该名字建令牌",
    ),
    ("unknown-member", "{0} 从未加入", "用 `tengyun members` 查看"),
    (
        "not-this-node",
        "证书不属于或不再属于节点 {0}",
        "给代理自己的 --name，或用 `tengyun token create --node NAME` 建令牌后重新加入",
    ),
    ("stale", "情况已变化：{0}", "无需处理：下一次规划会考虑"),
    ("not-restored", "没有等待确认的恢复", "无需处理：见 `tengyun status`"),
    ("read-only", "调度器处于只读状态：{0}", "停止它，去掉 --read-only 再启动"),
    ("not-listening", "调度器没有对外监听", "用 --listen ADDRESS:PORT 启动它"),
    ("not-yours", "{0} 不在您所属的部门之内", "请找管理员，或改用本部门的名字"),
];

/// Returns what a refusal says and what would help, in a language.
pub(crate) fn said(refusal: &v1::Refusal, language: Language) -> (String, String) {
    let known = REFUSALS.iter().find(|(code, ..)| *code == refusal.code);
    match (language, known) {
        (Language::Chinese, Some((_, sentence, remedy))) => {
            let sentence = filled(sentence, &refusal.arguments);
            // What helps here may be known better where it was refused.
            (sentence.unwrap_or_else(|| refusal.message.clone()), (*remedy).to_owned())
        }
        _ => (refusal.message.clone(), refusal.remedy.clone()),
    }
}

/// Puts arguments in their places; nothing when one is missing.
fn filled(sentence: &str, arguments: &[String]) -> Option<String> {
    let mut parts = sentence.split('{');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (place, rest) = part.split_once('}')?;
        let place: usize = place.parse().ok()?;
        text.push_str(arguments.get(place)?);
        text.push_str(rest);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: &str, arguments: &[&str]) -> v1::Refusal {
        v1::Refusal {
            code: code.to_owned(),
            message: "the english".to_owned(),
            remedy: "help".to_owned(),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        }
    }

    #[test]
    fn a_refusal_is_said_in_chinese_with_its_arguments() {
        let known = refusal("no-cpu", &["2.000 cores", "0.500 cores"]);
        let (sentence, remedy) = said(&known, Language::Chinese);
        assert_eq!(sentence, "需要 CPU 2.000 cores，只剩 0.500 cores");
        assert_eq!(remedy, "减少申请，或增加节点");
        assert_eq!(said(&known, Language::English).0, "the english");
    }

    #[test]
    fn what_is_not_known_or_lacks_an_argument_is_said_as_it_came() {
        assert_eq!(said(&refusal("new-word", &[]), Language::Chinese).0, "the english");
        assert_eq!(said(&refusal("no-cpu", &["1"]), Language::Chinese).0, "the english");
    }

    /// The words of the engine's refusals, as its source has them.
    fn codes() -> Vec<String> {
        let source = include_str!("../../../scheduler/engine/src/command.rs");
        let body = source.split("pub const fn code(&self)").nth(1).unwrap();
        let body = body.split("impl fmt::Display for Refusal").next().unwrap();
        body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_refusal_of_the_engine_is_in_the_catalogue() {
        let codes = codes();
        assert!(codes.len() > 30, "{codes:?}");
        for code in codes {
            let known = REFUSALS.iter().find(|(known, ..)| *known == code);
            let (_, sentence, remedy) = known.unwrap_or_else(|| panic!("{code} is missing"));
            assert!(!sentence.is_ascii() && !remedy.is_ascii(), "{code} is not in Chinese");
        }
    }
}
