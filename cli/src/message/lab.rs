//! What the laboratory says: its notes and the labels of its figures.

use tengyun_lab::note::Note;

use crate::text::{Language, width};

/// Where a table of figures has its values.
const VALUES_AT: usize = 34;

/// Labels and verdicts with their Chinese.
const LABELS: &[(&str, &str)] = &[
    ("is the same state, byte for byte", "与状态逐字节相同"),
    ("is damaged", "已损坏"),
    ("is another state", "是另一个状态"),
    ("is of an entry that is not there", "所属的记录不存在"),
    ("instances", "实例"),
    ("steps of 5 minutes", "步数（每步 5 分钟）"),
    ("coverage", "数据覆盖率"),
    ("nodes in use, mean (most)", "在用节点，平均（最多）"),
    ("nodes in use, mean", "在用节点，平均"),
    ("nodes in use, most", "在用节点，最多"),
    ("lower bound of nodes, mean", "节点数下界，平均"),
    ("above the lower bound", "超出下界"),
    ("instance-time in band 60-80 %", "处于 60-80 % 区间的实例时间"),
    ("instance-time above 80/90/100 %", "高于 80/90/100 % 的实例时间"),
    ("harvest work that had to wait", "须等待的填谷任务"),
    ("room that harvest was not given", "未分给填谷任务的余量"),
    ("hours of the week", "一周中的小时"),
    (
        "counted from the trace's beginning: it does not state when that was",
        "从记录开头数起：记录没有写明起始时刻",
    ),
    ("binding resource", "瓶颈资源"),
    ("utilisation", "利用率"),
    ("utilisation %", "利用率 %"),
    ("in band 60-80 %", "处于 60-80 % 区间"),
    ("node-time in band 60-80 %", "处于 60-80 % 区间的节点时间"),
    ("node-time above 80/90/100 %", "高于 80/90/100 % 的节点时间"),
    ("95 % interval of that above 80 %", "高于 80 % 者的 95 % 置信区间"),
    ("instance-time on nodes above 80 %", "在高于 80 % 节点上的实例时间"),
    ("above 80 %", "高于 80 %"),
    ("above 90 %", "高于 90 %"),
    ("demand lost", "丢失的需求"),
    ("demand lost %", "丢失的需求 %"),
    ("moves (per instance and day)", "迁移（每实例每日）"),
    ("moves", "迁移"),
    ("instance-time without a node", "没有节点的实例时间"),
    ("instance-time waiting %", "等待的实例时间 %"),
    ("harvest work", "填谷任务"),
    ("nodes off for 6 hours or more", "关闭 6 小时以上的节点"),
    ("memory in use", "已用内存"),
    ("node-time above all memory", "内存超过容量的节点时间"),
    ("memory missed (1000 instance-days)", "内存超出承诺（每千实例天）"),
    ("moves for want of memory", "因内存不足的迁移"),
    ("energy", "能耗"),
    ("energy kWh", "能耗 kWh"),
    ("refused", "被拒绝"),
    ("took", "用时"),
    ("instances too large for a node", "大于节点的实例"),
    ("note", "说明"),
];

/// Parts of the values beside the labels.
const PARTS: &[(&str, &str)] = &[
    (" bad rows)", " 行有误)"),
    (" core-hours done, ", " 核时完成，"),
    (" given back", " 核时让出"),
    (" nodes (", " 个节点 ("),
    (" of what it was given, in ", "（占所分配者），出现于 "),
    (" of steps, at worst ", " 的步，最多 "),
    (" of node-time above 80/90/100 %, ", "（节点时间高于 80/90/100 % 者），"),
    (" of instance-time", "（实例时间）"),
    (" to ", " 至 "),
];

/// Says a remark beside figures.
pub(crate) fn lab_note(note: &Note) -> &str {
    Language::of_locale().pick(&note.en, &note.zh)
}

/// Says a label or a verdict; one that is not known is shown as it came.
pub(crate) fn lab_label(english: &str) -> String {
    label_in(Language::of_locale(), english)
}

fn label_in(language: Language, english: &str) -> String {
    if language == Language::English {
        return english.to_owned();
    }
    if let Some(torn) = english.strip_suffix(" parts of the recording were torn or damaged") {
        return format!("{torn} 段记录残缺或损坏");
    }
    language.among(LABELS, english).to_owned()
}

/// Says a table of figures, a label and its value on each line.
pub(crate) fn lab_table(english: &str, notes: &[Note]) -> String {
    match Language::of_locale() {
        Language::English => english.to_owned(),
        Language::Chinese => english.lines().map(|line| figure(line, notes) + "\n").collect(),
    }
}

fn figure(line: &str, notes: &[Note]) -> String {
    let (label, value) = line.split_at_checked(VALUES_AT).unwrap_or((line, ""));
    let label = label_in(Language::Chinese, label.trim_end());
    let gap = " ".repeat(VALUES_AT.saturating_sub(width(&label)).max(2));
    let value = match label.as_str() {
        "说明" => {
            let note = notes.iter().find(|note| note.en == value);
            note.map_or(value, |note| note.zh.as_str()).to_owned()
        }
        "瓶颈资源" => super::word(value),
        _ => PARTS.iter().fold(value.to_owned(), |value, (e, c)| value.replace(e, c)),
    };
    label + &gap + &value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_notes_are_said_in_chinese_and_stay_in_their_columns() {
        let line = format!("{:<34}{}", "coverage", "99.90 % (3 bad rows)");
        assert_eq!(figure(&line, &[]), format!("数据覆盖率{}99.90 % (3 行有误)", " ".repeat(24)));
        let label = "binding resource";
        assert_eq!(label_in(Language::Chinese, label), "瓶颈资源");
        assert_eq!(label_in(Language::English, label), label);
        let note = Note::new("没有", "there is none");
        let line = format!("{:<34}{}", "note", "there is none");
        assert!(figure(&line, &[note]).ends_with("没有"));
        assert_eq!(label_in(Language::Chinese, "of tomorrow"), "of tomorrow");
    }
}
