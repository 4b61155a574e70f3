//! Words in Chinese and English, chosen by the locale.

use std::env;
use std::sync::OnceLock;

/// What this process speaks, where that was not left to the locale.
static SPOKEN: OnceLock<Language> = OnceLock::new();

/// Speaks a language from now on, whatever the locale says; the first word counts.
pub fn speak(language: Language) {
    // Whoever speaks already goes on as it is.
    SPOKEN.set(language).ok();
}

/// The language of what a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Chinese.
    Chinese,
}

impl Language {
    /// Chooses by the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is set, unless this process was
    /// told what to speak.
    pub fn of_locale() -> Self {
        if let Some(spoken) = SPOKEN.get() {
            return *spoken;
        }
        let set = |name: &&str| env::var(name).ok().filter(|v| !v.is_empty());
        Self::of(["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(set).as_deref())
    }

    fn of(locale: Option<&str>) -> Self {
        match locale {
            Some(locale) if locale.starts_with("zh") => Self::Chinese,
            _ => Self::English,
        }
    }

    /// Finds an English text in a table with its Chinese; one that is not there is shown as it came.
    pub(crate) fn among<'a>(self, table: &[(&str, &'a str)], english: &'a str) -> &'a str {
        let known = || table.iter().find(|(text, _)| *text == english);
        match self {
            Self::English => english,
            Self::Chinese => known().map_or(english, |(_, chinese)| chinese),
        }
    }

    /// Takes the words of this language.
    pub const fn pick<'a>(self, english: &'a str, chinese: &'a str) -> &'a str {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }
}

/// Translates the heading of a column; one without a translation stays as it is.
pub fn heading(language: Language, english: &'static str) -> &'static str {
    if language == Language::English {
        return english;
    }
    match english {
        "NODE" => "节点",
        "STATE" => "状态",
        "CAPACITY" => "容量",
        "USED" => "已用",
        "UTILISATION" => "利用率",
        "FORECAST" => "预测",
        "FOREIGN" => "外部占用",
        "MEMORY" => "内存",
        "INSTANCES" | "INSTANCE" => "实例",
        "BINDING" => "瓶颈",
        "DEPARTMENT" => "部门",
        "WORKLOADS" | "WORKLOAD" => "工作负载",
        "REQUESTED" => "申请",
        "METERED CPU" => "计量CPU",
        "METERED MEMORY" => "计量内存",
        "VOLUMES" => "卷",
        "COPY" => "副本",
        "SIZE" => "大小",
        "SINCE" => "起始",
        "MESSAGE" => "消息",
        "KIND" => "类型",
        "CLASS" => "等级",
        "WISH" => "期望",
        "WAITING" => "等待",
        "RUNNING" => "运行",
        "HEALTHY" => "健康",
        "ENDED" => "结束",
        "FAILED" => "失败",
        "CPU" => "CPU",
        "AGE" => "时长",
        "PHASE" => "阶段",
        "RESTARTS" => "重启",
        "EXIT" => "退出",
        "KNOB" | "KNOBS" => "参数",
        "POLICY" => "策略",
        "IN FORCE" => "生效",
        "VALUE" => "值",
        "DEFAULT" => "默认",
        "UNIT" => "单位",
        "REASON" => "理由",
        "GOES TO" => "去向",
        "TIME" => "时间",
        "EVENT" => "事件",
        "DETAILS" => "详情",
        "CHECK" => "检查项",
        "RESULT" | "FATE" => "结果",
        "FOUND" => "发现",
        "WHAT TO DO" => "处理办法",
        "PID" => "进程号",
        "MEMBER" => "成员",
        "ROLE" => "角色",
        "ADMISSION" => "准入次数",
        "REVOKED" => "吊销",
        "CONNECTIONS" => "连接",
        "DOUBLES" => "重复",
        "START" => "启动",
        "FROM" => "起",
        "TO" => "止",
        "CLOSED" => "已结清",
        "REVISION" | "VERSION" => "版本",
        "APPLIED" => "提交时间",
        "RUN" => "运行序号",
        "SCHEDULED" => "计划时间",
        "OUTCOME" => "结局",
        other => heading_of_a_forecast(other),
    }
}

fn heading_of_a_forecast(english: &'static str) -> &'static str {
    match english {
        "FIGURE" => "指标",
        "PEAK (MARGIN)" => "峰值（余量）",
        "FILLED" => "占用",
        "TAKES IT" => "可否容纳",
        "MARGIN" => "余量",
        "MISSED" => "漏报",
        "ERROR" => "误差",
        "NODES" => "节点数",
        "WHY NOT" => "不可容纳的原因",
        "NEAREST" => "最接近的节点",
        "SECRET" => "机密",
        "BYTES" => "字节数",
        "SET" => "设置时间",
        "USED BY" => "使用者",
        "BOUND" => "上限",
        other => other,
    }
}

/// Translates the label of a line; one without a translation stays as it is.
pub fn label(language: Language, english: &str) -> &str {
    if language == Language::English {
        return english;
    }
    match english {
        "name" => "名称",
        "id" => "编号",
        "state" => "状态",
        "lost since" => "失联自",
        "last seen" => "最近上报",
        "machine id" => "机器标识",
        "kernel" => "内核",
        "processor" => "处理器",
        "memory" => "内存",
        "control groups" => "控制组",
        "pressure (PSI)" => "资源压力 (PSI)",
        "agent is root" => "代理为 root",
        "disk" => "磁盘",
        "capacity" => "容量",
        "used" => "已用",
        "foreign" => "外部占用",
        "forecast peak" => "预测峰值",
        "reserved" => "已预留",
        "memory promised" => "已承诺内存",
        "harvest may use" => "填谷可用",
        "binding resource" => "瓶颈资源",
        "assignment" => "分配",
        "labels" => "标签",
        "control" => "控制",
        "workload" => "工作负载",
        "kind" => "类型",
        "class" => "等级",
        "wish" => "期望",
        "revision" => "版本",
        "applied" => "提交时间",
        "rollout" => "发布",
        "next run" => "下次运行",
        "command" => "命令",
        "requests" => "申请",
        "uses" => "用量",
        "health check" => "健康检查",
        "volumes" => "卷",
        "instance" | "instances" => "实例",
        "copy" | "copies" => "副本",
        "node" | "nodes" => "节点",
        "phase" => "阶段",
        "since" => "起始",
        "starts" => "启动次数",
        "process" => "进程",
        "last exit" => "上次退出",
        "message" => "消息",
        "replaces" => "替换",
        "why here" => "理由",
        "ports" => "端口",
        "scheduler" => "调度器",
        "socket" => "套接字",
        "identity" => "身份",
        "time" => "时间",
        "mode" => "模式",
        "journal" => "日志",
        "moves" => "迁移",
        "rebalancing" => "再平衡",
        "reserve" => "预留",
        "losses" => "失联",
        "restore" => "恢复",
        "last good" => "最近良好版本",
        "failures" => "失败",
        "standing" => "进展",
        "next" => "下一步",
        other => label_of_a_forecast(other),
    }
}

fn label_of_a_forecast(english: &str) -> &str {
    match english {
        "budget" => "预算",
        "integrity" => "完整性",
        "snapshot" => "快照",
        "entries" => "记录",
        "span" => "时段",
        "workloads" => "工作负载",
        "refused" => "被拒绝",
        "SMT" => "SMT",
        "disk busy" => "磁盘忙",
        "network busy" => "网口忙",
        "network" => "网络流量",
        "disk traffic" => "磁盘流量",
        "forecast" => "预测",
        "forecast so far" => "预测准确度",
        "move ledger" => "迁移额度",
        "affected" => "受影响",
        "worst hours" => "最差时段",
        other => other,
    }
}

/// Returns how many columns a text takes: Chinese characters take two.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| if matches!(c, '\u{2e80}'..='\u{ffef}') { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_chooses_the_language() {
        assert_eq!(Language::of(Some("zh_CN.UTF-8")), Language::Chinese);
        assert_eq!(Language::of(Some("C.UTF-8")), Language::English);
        assert_eq!(Language::of(None), Language::English);
        assert_eq!(heading(Language::Chinese, "NODE"), "节点");
        assert_eq!(heading(Language::English, "NODE"), "NODE");
        assert_eq!(label(Language::Chinese, "last good"), "最近良好版本");
        assert_eq!(label(Language::English, "last good"), "last good");
        assert_eq!((width("节点"), width("node")), (4, 4));
    }
}
