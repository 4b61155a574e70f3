//! What the engine expects of a field, where it refuses a workload that got past the manifest.

/// What is expected, with its Chinese.
const EXPECTED: &[(&str, &str)] = &[
    ("more than nothing", "大于零"),
    ("a signal from 1 to 31", "1 至 31 的信号"),
    ("the name of a user", "用户名"),
    ("a program and its arguments", "程序及其参数"),
    ("free of NUL characters", "不含 NUL 字符"),
    ("named by letters, digits and underscores", "以字母、数字和下划线命名"),
    ("free of LD_* and TENGYUN_*", "不含 LD_* 和 TENGYUN_*"),
    ("relative, below the working directory, without ..", "工作目录之下的相对路径，不含 .."),
    (
        "relative, below where it starts, without .., different for each file",
        "其启动目录之下的相对路径，不含 ..，各文件互不相同",
    ),
    ("different for each file", "各文件互不相同"),
    ("at most 0777", "不超过 0777"),
    ("a file or a folder, not both", "文件或目录之一"),
    ("at least 1 MiB", "不少于 1 MiB"),
    ("at least 1", "不小于 1"),
    ("at least resources.cpu and more than nothing", "不小于 resources.cpu 且大于零"),
    (
        "different numbers from 1 to 65535 with different names",
        "1 至 65535 的不同号码，名称各不相同",
    ),
    ("about a port of the workload", "工作负载自己的端口"),
    ("at least 0.05", "不小于 0.05"),
    ("different for each volume", "各卷互不相同"),
    ("different from other volumes and from files", "与其他卷和文件不同"),
    ("wait: what has volumes starts nowhere else", "wait：有卷的实例不在别处启动"),
    (
        "an address with http:// or https://, or an absolute path on the node",
        "http:// 或 https:// 的地址，或节点上的绝对路径",
    ),
    ("left out, unless the kind is cron", "留空，除非类型为 cron"),
    ("given, for move: window", "非空，因为 move: window"),
    ("left out, unless move is window", "留空，除非 move 为 window"),
    ("from 1 to 10000", "1 至 10000"),
    ("different workloads", "不同的工作负载"),
    ("left out, unless the kind is service or job", "留空，除非类型为 service 或 job"),
    ("given, for the kind cron", "非空，因为类型为 cron"),
    ("1 for the kind cron: each run is one instance", "1，因为类型为 cron：每次运行为一个实例"),
    ("left out for the kind cron", "留空，因为类型为 cron"),
    (
        "left out for the kind cron: each run is another copy",
        "留空，因为类型为 cron：每次运行是另一个副本",
    ),
    (
        "never for the kind per-node: each copy belongs to its node",
        "never，因为类型为 per-node：每个副本属于其节点",
    ),
    ("critical or standard for the kind per-node", "critical 或 standard，因为类型为 per-node"),
    ("1 for the kind per-node: one copy on each node", "1，因为类型为 per-node：每个节点一个副本"),
    ("left out for the kind per-node", "留空，因为类型为 per-node"),
];

/// What is expected with a number or a name in it: what comes before and after that, and its Chinese.
const AROUND: &[(&str, &str, &str)] = &[
    ("at most ", " words", "不超过 {} 个词"),
    ("at most ", " bytes together", "合计不超过 {} 字节"),
    ("at most ", " characters, none of them a control character", "不超过 {} 个字符，不含控制字符"),
    ("at most ", "", "不超过 {}"),
    ("left out, unless there are ", " instances or more", "留空，除非有 {} 个以上的实例"),
    (
        "a time zone such as Asia/Shanghai, ",
        " is not known here",
        "时区，如 Asia/Shanghai；此处不认识 {}",
    ),
];

/// Says in Chinese what is expected; what is not known is shown as it came.
pub(super) fn expected(english: &str) -> String {
    if let Some((_, chinese)) = EXPECTED.iter().find(|(text, _)| *text == english) {
        return (*chinese).to_owned();
    }
    let within = |(before, after, chinese): &(&str, &str, &str)| {
        let middle = english.strip_prefix(before)?.strip_suffix(after)?;
        Some(chinese.replace("{}", middle))
    };
    AROUND.iter().find_map(within).unwrap_or_else(|| english.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The literals that the engine's checks give as what they expect.
    fn literals(source: &str) -> Vec<&str> {
        let calls = source.split("bad(\"").skip(1);
        calls
            .filter_map(|call| call.split_once("\", \"")?.1.split_once('"'))
            .map(|(l, _)| l)
            .collect()
    }

    #[test]
    fn whatever_the_engine_expects_of_a_field_is_said_in_chinese() {
        let sources = [
            include_str!("../../../scheduler/engine/src/state/check.rs"),
            include_str!("../../../scheduler/engine/src/state/check/calendar.rs"),
            include_str!("../../../scheduler/engine/src/state/provision.rs"),
        ];
        let mut found = 0;
        for text in sources.into_iter().flat_map(literals) {
            assert_ne!(expected(text), text, "no Chinese for {text:?}");
            found += 1;
        }
        assert!(found >= 30, "{found} were found");
        assert_eq!(expected("at most 64 words"), "不超过 64 个词");
        assert_eq!(expected("at most 9"), "不超过 9");
        let zone = "a time zone such as Asia/Shanghai, \"Mars\" is not known here";
        assert_eq!(expected(zone), "时区，如 Asia/Shanghai；此处不认识 \"Mars\"");
        assert_eq!(expected("of tomorrow"), "of tomorrow");
    }
}
