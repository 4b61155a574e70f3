//! Words in Chinese and English, chosen by the locale.

use std::env;

/// The language of what a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Chinese.
    Chinese,
}

impl Language {
    /// Chooses by the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is set.
    pub fn of_locale() -> Self {
        let set = |name: &&str| env::var(name).ok().filter(|v| !v.is_empty());
        Self::of(["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(set).as_deref())
    }

    fn of(locale: Option<&str>) -> Self {
        match locale {
            Some(locale) if locale.starts_with("zh") => Self::Chinese,
            _ => Self::English,
        }
    }

    /// Takes the words of this language.
    pub const fn pick(self, english: &'static str, chinese: &'static str) -> &'static str {
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
        "PEAK (MARGIN)" => "峰值（余量）",
        "BOUND" => "上限",
        other => other,
    }
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
    }
}
