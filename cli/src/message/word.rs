//! The words of states: what the wire and the engine call by one word, for people.

use crate::text::Language;

/// Every word with its Chinese.
const WORDS: &[(&str, &str)] = pairs! {
    "yes" "是"
    "no" "否"
    "none" "无"
    "nothing" "无"

    // Nodes: how they are, and what operators wish of them.
    "connected" "在线"
    "returned" "已恢复"
    "away" "离线"
    "suspect" "可疑"
    "lost" "失联"
    "serve" "启用"
    "cordon" "隔离"
    "drain" "腾空"
    "drain-by-force" "强制腾空"
    "cordoned" "已隔离"
    "draining" "正在腾空"
    "drained" "已腾空"

    // Days of the week.
    "Mon" "周一"
    "Tue" "周二"
    "Wed" "周三"
    "Thu" "周四"
    "Fri" "周五"
    "Sat" "周六"
    "Sun" "周日"

    // What binds.
    "cpu" "CPU"
    "memory" "内存"
    "disk" "磁盘"
    "network" "网络"
    "pids" "进程数"
    "counter" "计数资源"

    // Workloads.
    "service" "服务"
    "job" "作业"
    "cron" "定时"
    "per_node" "每节点"
    "critical" "关键"
    "standard" "普通"
    "harvest" "填谷"
    "deleting" "正在删除"
    "created" "已创建"
    "updated" "已更新"
    "unchanged" "未变"
    "deleted" "已删除"
    "done" "完成"

    // Instances.
    "waiting" "等待"
    "starting" "启动中"
    "running" "运行中"
    "healthy" "健康"
    "backing off" "退避中"
    "backing_off" "退避中"
    "stopping" "停止中"
    "succeeded" "已成功"
    "failed" "已失败"
    "stopped" "已停止"
    "unhealthy" "不健康"
    "unspecified" "未知"

    // What is still to leave a node.
    "must-not-move" "不得迁移"
    "keeps-volumes" "随卷留下"
    "waits" "等待"
    "moving" "迁移中"

    // Volumes.
    "kept" "保留"
    "abandoned" "已弃置"
    "removing" "正在清除"

    // Rollouts and revisions.
    "advancing" "推进中"
    "paused" "已暂停"
    "halted" "已中止"
    "returning" "正在退回"
    "rolling" "发布中"
    "good" "良好"
    "superseded" "已被取代"

    // Runs.
    "under-way" "进行中"
    "skipped" "已跳过"
    "missed" "已错过"

    // Controls, and how well each holds.
    "node-capacity" "节点容量"
    "cpu-weight" "CPU 权重"
    "cpu-limit" "CPU 上限"
    "cpu-idle" "CPU 空闲等级"
    "memory-limit" "内存上限"
    "pids-limit" "进程数上限"
    "own-user" "专用用户"
    "cpu-meter" "CPU 计量"
    "memory-meter" "内存计量"
    "single" "单线程"
    "assumed" "未测先取"
    "measured" "实测"
    "said" "人工指定"
    "enforced" "强制执行"
    "approximate" "近似"
    "not enforced" "未执行"
};

/// What agents say of their controls, in parts.
const REASONS: &[(&str, &str)] = &[
    ("summed over processes in steps of 10 ms", "按进程累加，精度 10 毫秒"),
    (
        "summed over processes, shared pages count more than once",
        "按进程累加，共享内存页会重复计算",
    ),
    ("SCHED_IDLE for each process, without a quota for all", "各进程用 SCHED_IDLE，无总配额"),
    ("SCHED_IDLE for each process, within the quota for all", "各进程用 SCHED_IDLE，受总配额约束"),
    ("this kernel does not have it (Linux 5.15 has)", "此内核没有（Linux 5.15 起有）"),
    ("its CPU is held, not its memory", "CPU 受限，内存不受限"),
    ("its memory is held, not its CPU", "内存受限，CPU 不受限"),
    ("the agent is not root: instances run as its own user", "代理不是 root：实例以代理的用户运行"),
    ("no cpu controller is delegated", "未授予 cpu 控制器"),
    ("no cpuacct controller is delegated", "未授予 cpuacct 控制器"),
    ("no memory controller is delegated", "未授予 memory 控制器"),
    ("no pids controller is delegated", "未授予 pids 控制器"),
    ("run as root or delegate it", "请以 root 运行或授予它"),
    ("no control group controller is mounted below ", "该目录下没有挂载控制组控制器："),
    ("; ", "；"),
];

/// Says a word of a state; one that this version does not know is shown as it came.
pub(crate) fn word(english: &str) -> String {
    word_in(Language::of_locale(), english).to_owned()
}

pub(crate) fn word_in(language: Language, english: &str) -> &str {
    language.among(WORDS, english)
}

/// Says why a control holds less than it should; what an error of the system says stays in it.
pub(crate) fn reason(english: &str) -> String {
    reason_in(Language::of_locale(), english)
}

fn reason_in(language: Language, english: &str) -> String {
    let said = |text: String, (english, chinese): &(&str, &str)| text.replace(english, chinese);
    match language {
        Language::English => english.to_owned(),
        Language::Chinese => REASONS.iter().fold(english.to_owned(), said),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tengyun_engine::image::NodeWish;
    use tengyun_model::{Class, Control, EnforcementLevel, Kind, Phase, SmtSource};

    use super::*;

    #[test]
    fn every_word_of_a_state_is_there_once() {
        let words: BTreeSet<&str> = WORDS.iter().map(|(word, _)| *word).collect();
        assert_eq!(words.len(), WORDS.len());
        let mut all: Vec<String> = Vec::new();
        all.extend(Class::ALL.iter().map(|class| class.as_str().to_owned()));
        all.extend(Control::ALL.iter().map(|control| control.as_str().to_owned()));
        let kinds = [Kind::Service, Kind::Job, Kind::PerNode];
        all.extend(kinds.iter().map(|kind| kind.as_str().replace('-', "_")));
        let wishes = [NodeWish::Serve, NodeWish::Cordon, NodeWish::Drain, NodeWish::DrainByForce];
        all.extend(wishes.iter().map(|wish| wish.as_str().to_owned()));
        let phases = [Phase::Waiting, Phase::Starting, Phase::Running, Phase::Healthy];
        let others = [Phase::BackingOff, Phase::Stopping, Phase::Succeeded, Phase::Failed];
        let last = [Phase::Stopped, Phase::Unhealthy];
        let phases = phases.iter().chain(&others).chain(&last);
        all.extend(phases.map(|phase| phase.as_str().to_owned()));
        let levels = [
            EnforcementLevel::Enforced,
            EnforcementLevel::Approximate,
            EnforcementLevel::NotEnforced,
        ];
        all.extend(levels.iter().map(|level| level.as_str().to_owned()));
        let sources = SmtSource::ALL.iter().filter(|source| **source != SmtSource::Unsaid);
        all.extend(sources.map(|source| source.as_str().to_owned()));
        for word in all {
            assert!(words.contains(word.as_str()), "{word} has no Chinese");
        }
    }

    #[test]
    fn a_word_is_said_in_the_language_and_an_unknown_one_as_it_came() {
        assert_eq!(word_in(Language::Chinese, "backing off"), "退避中");
        assert_eq!(word_in(Language::English, "backing off"), "backing off");
        assert_eq!(word_in(Language::Chinese, "of-tomorrow"), "of-tomorrow");
        let reason = "cpu.max: no cpu controller is delegated; run as root or delegate it";
        let chinese = reason_in(Language::Chinese, reason);
        assert_eq!(chinese, "cpu.max: 未授予 cpu 控制器；请以 root 运行或授予它");
        assert_eq!(reason_in(Language::English, reason), reason);
    }
}
