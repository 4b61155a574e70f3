//! The Chinese of the command line's own texts, and of the words that the library adds to them.

/// Every text with its Chinese.
pub(super) const TEXTS: &[(&str, &str)] = &[
    (
        "A TOML file of knobs; those it does not name return to their defaults",
        "参数的 TOML 文件；未列出的参数恢复默认值",
    ),
    (
        "A directory with `instances.parquet` that has the columns `arrive_s` and `depart_s`",
        "含 `instances.parquet` 的目录，其中有 `arrive_s` 和 `depart_s` 两列",
    ),
    (
        "A policy (default, energy, careful or a TOML file), or knobs and their values",
        "一个策略（default、energy、careful 或 TOML 文件），或若干参数及其值",
    ),
    (
        "Do not ask about only copies, which run twice until the old one stops",
        "不询问唯一的副本：旧副本停止之前新旧同时运行",
    ),
    ("The share of a server's CPU above which it is too busy", "服务器 CPU 超过此比例即为过忙"),
    ("The share of time that a server may be above its ceiling", "服务器可以高于上限的时间比例"),
    (
        "Watts of a server at 0, 10, ... 100 % of its CPU, eleven of them [default: an HP ML110 G5]",
        "服务器 CPU 为 0、10、…、100 % 时的瓦数，共十一个 [默认：HP ML110 G5]",
    ),
    ("A recorded day", "一天的记录"),
    ("A recorded trace; several follow one another in time", "记录的轨迹；多个则按时间先后相接"),
    ("A workload's name or an instance's number", "工作负载的名称或实例的编号"),
    ("Add a node, or N of them, from then on", "从那时起增加一个或 N 个节点"),
    ("After a restore: let nodes run what the journal says", "恢复之后：让各节点按日志运行"),
    (
        "Also listen for members on other machines, with TLS 1.3 and certificates of both sides",
        "同时接受其他机器上的成员，使用 TLS 1.3 和双向证书",
    ),
    (
        "Also what must not move: it stops here before it starts elsewhere",
        "不得迁移的也迁走：先在此停止，再在别处启动",
    ),
    (
        "Also when instances will be stopped that the journal does not know",
        "即使有日志不认识的实例将被停止",
    ),
    (
        "An instance's number, or a workload's name when it has one instance",
        "实例的编号，或只有一个实例的工作负载的名称",
    ),
    ("Apply the workloads of a manifest", "应用清单中的工作负载"),
    ("As a TOML file that `policy set` takes", "输出 `policy set` 可用的 TOML 文件"),
    ("At most the newest so many", "最多显示最新的若干条"),
    (
        "Back up the scheduler of this machine into one file, while it runs",
        "把本机的调度器备份为一个文件，运行中即可",
    ),
    (
        "Before you move: how many servers, which workload where, what it saves",
        "搬迁之前：需要几台服务器、各工作负载放在哪里、节省多少",
    ),
    (
        "CPU of each node [default: an equal share of the cores]",
        "每个节点的 CPU [默认：平分全部核]",
    ),
    (
        "Charge power-on and moves, and move in the window only",
        "计入开机与迁移的代价，只在时段内迁移",
    ),
    (
        "Check everything, say what would become of it and change nothing",
        "检查全部内容，说明会有什么结果，不作任何更改",
    ),
    (
        "Also margins, and how good forecasts were lately, of nodes, workloads or instances",
        "一并列出节点、工作负载或实例的余量和近期预测准确度",
    ),
    (
        "Check whether this server is fit for the cloud, and say what to do where it is not",
        "检查本服务器是否适合入云，并说明如何处理不合格之处",
    ),
    (
        "Come in again though there is an identity, which is replaced",
        "已有身份也重新登录，并替换该身份",
    ),
    ("Come in as a person, by a token", "以人员身份凭令牌登录"),
    ("Count memory after the first placement too", "首次放置之后也计入内存"),
    (
        "Directory that holds the state [default: /var/lib/tengyun as root, else ~/.local/state/tengyun]",
        "状态目录 [默认：root 为 /var/lib/tengyun，其他用户为 ~/.local/state/tengyun]",
    ),
    ("Directory to write the pages into", "存放手册页的目录"),
    ("Do not wait until the node is empty", "不等待节点腾空"),
    (
        "Empty a node: replacements are healthy elsewhere before anything stops",
        "腾空一个节点：先在别处有健康的替换实例，再停止原来的",
    ),
    ("Ended instances too", "包括已结束的实例"),
    (
        "Exit codes: 0 done, 1 refused by the scheduler, 2 wrong command line, manifest or policy, 3 the scheduler cannot be reached, 4 anything else.",
        "退出码：0 完成，1 被调度器拒绝，2 命令行、清单或策略有误，3 无法连上调度器，4 其他。",
    ),
    ("Fill what is left below the target with harvest work", "用填谷任务填满目标以下的余量"),
    ("Forget a value that no workload uses", "删除没有工作负载使用的机密"),
    (
        "From when on to plan anew: the number of an entry, a time such as 2027-01-04T08:00:00Z, or so long after the beginning, such as +90m [default: from the beginning of the recording]",
        "从何时起重新规划：记录的序号、时刻（如 2027-01-04T08:00:00Z）或距开始的时长（如 +90m）[默认：从记录的开头]",
    ),
    ("From which node, where there is more than one", "从哪个节点，有多个时须指明"),
    (
        "Go back to the last good revision, or to another that is kept",
        "退回最近的良好版本，或另一个保留的版本",
    ),
    ("Go on after a pause or a failure", "暂停或失败之后继续"),
    ("Go on as it writes", "随其输出持续显示"),
    ("Go on until Ctrl-C", "持续显示，直到 Ctrl-C"),
    (
        "Hours of the day in which anything may be moved; with --honest [default: 22-6]",
        "一天中允许迁移的小时；与 --honest 同用 [默认：22-6]",
    ),
    (
        "How many nodes to make of this machine, each with an equal share",
        "把本机分为几个节点，各占相同份额",
    ),
    (
        "How memory counts: none, request or used",
        "内存的计法：none 不计、request 按申请、used 按已用",
    ),
    (
        "How memory counts: none, request, used or forecast",
        "内存的计法：none 不计、request 按申请、used 按已用、forecast 按引擎的预测",
    ),
    ("How results are shown", "结果的显示方式"),
    (
        "Identity of a person, to speak with a scheduler on another machine [default: `identity` in the state directory, where `tengyun login` keeps it, unless --socket is given]",
        "人员的身份文件，用于与其他机器上的调度器通信 [默认：状态目录中的 `identity`，由 `tengyun login` 保存；给出 --socket 时不用]",
    ),
    (
        "Instances: `name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec`",
        "实例：`name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec`",
    ),
    (
        "It is known to be off: what it ran starts elsewhere, and its volumes are given up",
        "确知已断电：其上的实例在别处启动，其卷放弃",
    ),
    ("Its name or number", "名称或编号"),
    ("Its number, as `policy history` shows it", "版本号，见 `policy history`"),
    (
        "Join again though this server has an identity, which is replaced",
        "本服务器已有身份也重新加入，并替换该身份",
    ),
    ("Join the cloud with this server, by a token", "让本服务器凭令牌加入"),
    (
        "Keep a value, which is read from standard input; instances get it when they next start",
        "保存一个值，从标准输入读取；实例下次启动时得到",
    ),
    ("Keep new instances away from a node", "隔离一个节点，不再放置新实例"),
    ("Keep, list and delete the secrets of departments", "保存、列出、删除各部门的机密"),
    ("Lay several traces over each other instead", "改为把多个轨迹叠加"),
    (
        "Let a workload start again that was held because nodes were lost under it",
        "让因节点先后失联而被暂停的工作负载重新启动",
    ),
    ("Let in a person of this name", "准入此名的人员"),
    (
        "Let in the node of this name, also when it was in before: it is the same node then",
        "准入此名的节点，先前加入过也可：仍是同一个节点",
    ),
    (
        "Let instances come and go by a recorded list, beside the fewest nodes that could hold them",
        "按记录的列表让实例来去，与所需的最少节点数对照",
    ),
    ("List everybody who was ever let in", "列出所有曾获准入者"),
    (
        "List nodes, departments, workloads, instances, volumes or runs",
        "列出节点、部门、工作负载、实例、卷或运行记录",
    ),
    ("List the names of secrets, their versions and who uses them", "列出机密的名称、版本和使用者"),
    ("List the policies that ship, and which is in force", "列出自带的策略，以及哪一个生效"),
    ("List the revisions that are kept and what became of them", "列出保留的版本及其结果"),
    ("List the versions that can be returned to, the newest first", "列出可退回的版本，最新的在前"),
    (
        "Make a token that lets a server or a person in, once, within ten minutes",
        "创建令牌，十分钟内可准入一台服务器或一名人员，限一次",
    ),
    ("Make a token; it is shown once and kept nowhere", "创建令牌；只显示一次，不作保存"),
    ("Make new keys and encrypt every secret with them", "换新密钥，并用它们重新加密全部机密"),
    ("Manage one node", "管理一个节点"),
    ("Manage one person", "管理一名人员"),
    ("Manage what stays on the nodes", "管理留在节点上的卷"),
    (
        "Memory of each node [default: an equal share of the memory]",
        "每个节点的内存 [默认：平分全部内存]",
    ),
    ("Move an instance to a node", "把一个实例迁移到某个节点"),
    (
        "Name of the node, unique in the cloud [default: the host name]",
        "节点名，在云中唯一 [默认：主机名]",
    ),
    ("Nodes: `sn,cpu_milli,memory_mib,gpu,model`", "节点：`sn,cpu_milli,memory_mib,gpu,model`"),
    ("Of what", "显示什么"),
    ("Only events of this node", "只显示此节点的事件"),
    ("Only events of this workload", "只显示此工作负载的事件"),
    (
        "Only events since a moment (2026-01-31T08:00:00+08:00) or for a time (90s, 15m, 2h, 7d)",
        "只显示某时刻（2026-01-31T08:00:00+08:00）以来或最近一段时间（90s、15m、2h、7d）的事件",
    ),
    (
        "Only so many of the last lines [default: all that is kept]",
        "只显示最后若干行 [默认：全部保留的]",
    ),
    (
        "Only the workloads, instances or runs of this department and those below it",
        "只显示此部门及其下级的工作负载、实例或运行记录",
    ),
    ("Only those of this department", "只显示此部门的"),
    (
        "Only what this person wished, or this user of the scheduler's machine (uid:0)",
        "只显示此人员或调度器本机用户（uid:0）所要求的",
    ),
    (
        "Say what would go where and what has no place, and change nothing",
        "说明哪些实例将迁往何处、哪些无处可去，不作任何改动",
    ),
    ("Open a node that was cordoned or drained", "重新启用被隔离或腾空的节点"),
    (
        "Pack a list of instances on a list of nodes, one after the other",
        "把一列实例逐个装入一列节点",
    ),
    ("Plan anew, beside what happened; needs --volatile", "重新规划，与实际对照；需要 --volatile"),
    ("Print a completion script for a shell", "输出某种 shell 的补全脚本"),
    ("Print the JSON Schema of manifests", "输出清单的 JSON Schema"),
    ("Print the scheduler's metrics as scrapers read them", "输出调度器的指标，与采集器所读相同"),
    ("Read the value from this file, as it is", "原样从此文件读取值"),
    (
        "File that says on which days people rest and work, and in which time zone",
        "写明哪些日子休息、哪些日子上班以及所在时区的文件",
    ),
    (
        "Record reports and liveness in this directory, for `tengyun lab journal --replan`",
        "把上报和在线情况记录到此目录，供 `tengyun lab journal --replan` 使用",
    ),
    (
        "Remove a lost node from the register, and end what its certificate may do",
        "注销失联的节点，并使其证书失效",
    ),
    (
        "Remove the volumes of one copy of a workload from a node, with all that they hold",
        "从节点清除工作负载某个副本的卷及其全部内容",
    ),
    ("Replace nothing more for now", "暂不再替换"),
    ("Replay a recorded fleet under one policy", "用一个策略重放记录的机群"),
    (
        "Replay a scheduler's journal; with --replan, plan a recorded day anew",
        "重放调度器的日志；加 --replan 则重新规划所记录的一天",
    ),
    (
        "Replay recorded fleets through the engine, beside the policies of others",
        "用引擎重放记录的机群，与其他策略对照",
    ),
    (
        "Restore a backup into a state directory that holds no scheduler",
        "把备份恢复到没有调度器的状态目录",
    ),
    ("Return to the values of a version", "退回某个版本的值"),
    (
        "Run the experiment of Beloglazov and Buyya on a recorded day",
        "用一天的记录重做 Beloglazov 与 Buyya 的实验",
    ),
    (
        "Say that silent nodes are lost, where the scheduler waits for an operator's word",
        "在调度器等待管理员判断时，认定静默的节点已失联",
    ),
    ("Say where the rollout of a workload stands", "说明工作负载的发布进展"),
    (
        "Say why a workload or instance is where it is, why not elsewhere, and what would help",
        "说明工作负载或实例为何在此、为何不在别处、如何改善",
    ),
    ("Set a whole policy, or some knobs while the others stay", "设置整个策略，或只设置若干参数"),
    (
        "Show all that is kept of a workload, a deleted one too",
        "显示工作负载保留的全部记录，已删除的也可",
    ),
    ("Show every knob: those in force, or of a policy", "显示全部参数：生效的，或某个策略的"),
    (
        "Show everything about one node, workload or instance",
        "显示一个节点、工作负载或实例的全部信息",
    ),
    ("Show it once", "只显示一次"),
    ("Show or set the policy", "显示或设置策略"),
    ("Show the journaled meters", "显示已记入日志的计量"),
    ("Show the state of the scheduler", "显示调度器的状态"),
    ("Show use as it is now", "显示当前用量"),
    ("Show what an instance wrote", "显示实例的输出"),
    ("Show what happened", "显示发生过的事件"),
    (
        "Show where a new revision stands and what became of those before; pause, resume or undo it",
        "显示新版本的进展和先前版本的结果；暂停、继续或撤销发布",
    ),
    (
        "Socket of the scheduler [default: scheduler/scheduler.sock in the state directory]",
        "调度器的套接字 [默认：状态目录中的 scheduler/scheduler.sock]",
    ),
    (
        "Start a scheduler and one or more agents for this machine, until Ctrl-C",
        "在本机启动一个调度器和一个或多个代理，直到 Ctrl-C",
    ),
    (
        "State directory of this server's agent [default: agent in the state directory]",
        "本服务器代理的状态目录 [默认：状态目录中的 agent]",
    ),
    ("Stop every instance of a workload and forget it", "停止工作负载的全部实例，并删除该工作负载"),
    (
        "Stop every instance of a workload and keep the workload",
        "停止工作负载的全部实例，保留该工作负载",
    ),
    ("Take a node away from then on: it is drained by force", "从那时起去掉一个节点：强制腾空"),
    (
        "Tell the city's story in about three minutes, with real processes and real limits (root)",
        "约三分钟演示全市的整合，使用真实的进程和限额（需要 root）",
    ),
    ("The archive", "备份文件"),
    (
        "The archive to make, with mode 0600; it must not be there yet",
        "要生成的备份文件，权限 0600；不得已存在",
    ),
    ("The coverage below which no plan is made", "低于此数据覆盖率时不作规划"),
    ("The department and the name", "部门与名称"),
    (
        "The department and the name, such as city/finance/db-password",
        "部门与名称，如 city/finance/db-password",
    ),
    ("The department that the person speaks for", "该人员所属的部门"),
    (
        "The directory that the scheduler recorded in (`--record-volatile`)",
        "调度器的记录目录（`--record-volatile`）",
    ),
    (
        "The history of existing servers; several follow one another in time",
        "现有服务器的历史；多个则按时间先后相接",
    ),
    ("The instance's number", "实例的编号"),
    (
        "The journal, a scheduler's state directory, or what `tengyun backup` made; it is only read, its scheduler may be running",
        "日志、调度器的状态目录或 `tengyun backup` 的备份；只读，调度器可在运行",
    ),
    ("The layout of the history [default: seen by its files]", "历史的格式 [默认：由文件识别]"),
    ("The layout of the traces [default: seen by their files]", "轨迹的格式 [默认：由文件识别]"),
    ("The length of a measured step", "每一步测量的时长"),
    (
        "The lost nodes; without any, every node that is silent for long enough",
        "失联的节点；不给出则为所有静默足够久的节点",
    ),
    ("The manifest; `-` reads standard input", "清单文件；`-` 表示标准输入"),
    ("The name that the token was made for", "令牌所给予的名字"),
    ("The node", "节点"),
    ("The node it is to go to", "目标节点"),
    ("The person", "人员"),
    ("The price of one kWh", "每千瓦时的价格"),
    ("The price of one server for one year, without energy", "一台服务器一年的价格，不含电费"),
    (
        "The recorded day to replay [default: ../shared/traces/planetlab-20110303 where it is, else a generated set]",
        "要重放的一天的记录 [默认：有 ../shared/traces/planetlab-20110303 则用它，否则生成]",
    ),
    ("The revision to go to", "目标版本"),
    (
        "File that says on which days people rest and work, and in which time zone; without one every week has five working days",
        "写明哪些日子休息、哪些日子上班以及所在时区的文件；没有时每周五个工作日",
    ),
    (
        "Time zone of the days, such as Asia/Shanghai [default: that of the calendar, else UTC]",
        "日期所在的时区，如 Asia/Shanghai [默认：日历文件中的时区，否则为 UTC]",
    ),
    ("The share of instances that never move", "从不迁移的实例的比例"),
    (
        "The share of node-time above the ceiling that is allowed [default: that of the policy, mostly 1]",
        "允许高于上限的节点时间的比例 [默认：策略所定，通常为 1]",
    ),
    ("The shell", "shell 的名称"),
    ("The size of every node", "每个节点的大小"),
    ("The size of every server of the plan", "规划中每台服务器的大小"),
    (
        "The token; `-` reads it from standard input, where no other user can see it",
        "令牌；`-` 表示从标准输入读取，其他用户无法看到",
    ),
    ("The workload", "工作负载"),
    (
        "The workload, by its path or the end of it; it may be deleted already",
        "工作负载的路径或其末尾；可以已删除",
    ),
    (
        "They are known to be off: what must not run twice starts elsewhere too",
        "确知已断电：不得同时运行两份的也在别处启动",
    ),
    (
        "Void the node's certificates and cut its connections; what runs there runs on",
        "使节点的证书失效并切断其连接；其上的实例继续运行",
    ),
    ("Void the person's certificates and cut the connections", "使人员的证书失效并切断其连接"),
    ("What kind of thing", "对象的种类"),
    ("What the person may do", "该人员的权限"),
    ("What to list", "列出什么"),
    (
        "What to plan by: default, energy, careful or a file of knobs; several are compared [default: as recorded]",
        "规划所用的策略：default、energy、careful 或参数文件；多个则互相比较 [默认：按记录]",
    ),
    (
        "Where members find this scheduler [default: where it listens]",
        "成员从何处找到此调度器 [默认：其监听地址]",
    ),
    (
        "Where the scheduler is, as seen by whom it is for [default: as the scheduler was told]",
        "对方所见的调度器地址 [默认：调度器所设]",
    ),
    ("Which copy, from 0", "哪个副本，从 0 起"),
    ("Write a report with plots", "写出带图表的报告"),
    ("Write the comparison with plots", "写出带图表的对比"),
    (
        "Write the manual: a page for the command and one for each verb",
        "写出手册：命令一页，每个子命令一页",
    ),
    ("Write the plan as a page", "把规划写成网页"),
    ("default, energy, careful or a TOML file", "default、energy、careful 或 TOML 文件"),
    ("default, energy, careful or a file of knobs", "default、energy、careful 或参数文件"),
    (
        "default, energy, careful or a file of knobs; the list's own rules come before the policy's",
        "default、energy、careful 或参数文件；列表自带的规则优先于策略",
    ),
    (
        "default, energy, careful, ffd-N, nsigma-N, rc-P, max, borg, oracle-24h, oracle-1h or a file of knobs",
        "default、energy、careful、ffd-N、nsigma-N、rc-P、max、borg、oracle-24h、oracle-1h 或参数文件",
    ),
    (
        "tengyun (腾云): one government cloud from a city's idle servers",
        "腾云（tengyun）：把全市闲置的服务器整合为一朵政务云",
    ),
    (
        "thr-mmt, iqr-mmt, mad-mmt, lr-mmt, default, energy, careful or a file of knobs",
        "thr-mmt、iqr-mmt、mad-mmt、lr-mmt、default、energy、careful 或参数文件",
    ),
];

/// What stands beside the values of an argument in long help.
pub(super) const VALUES: &[(&str, &str)] = &[
    ("A table for people", "供人阅读的表格"),
    ("One JSON value", "一个 JSON 值"),
    ("Everything", "一切操作"),
    ("The workloads of one department", "一个部门的工作负载"),
    ("Look and change nothing", "只看不改"),
    ("The shell of most servers", "多数服务器的 shell"),
    ("The Z shell", "Z shell"),
    ("The friendly shell", "友好的 shell"),
];

/// The library's own words; the longer ones come first.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("Print this message or the help of the given subcommand(s)", "显示本说明或所给命令的说明"),
    ("Print help (see more with '--help')", "显示说明（--help 更详细）"),
    ("Print help (see a summary with '-h')", "显示说明（-h 更简短）"),
    ("Print help", "显示说明"),
    ("Print version", "显示版本"),
    ("Possible values:", "可选值："),
    ("[possible values: ", "[可选值："),
    ("[default: ", "[默认："),
    ("[env: ", "[环境变量："),
    // Where a line ends after it, or a terminal is told how to show it.
    ("[env:", "[环境变量："),
    ("Usage: ", "用法："),
    ("Usage:", "用法："),
    ("Commands:", "命令："),
    ("Arguments:", "参数："),
    ("Options:", "选项："),
    ("[OPTIONS]", "[选项]"),
    ("<COMMAND>", "<命令>"),
    ("[COMMAND]", "[命令]"),
];

/// Why the library or a type takes a value not.
const REASONS: &[(&str, &str)] = &[
    ("invalid digit found in string", "应为整数"),
    ("cannot parse integer from empty string", "为空"),
    ("number too large to fit in target type", "数字过大"),
    ("invalid socket address syntax", "应为 地址:端口"),
    ("the token's address must be HOST:PORT", "应为 HOST:PORT"),
    ("a name must not be empty", "名称不能为空"),
    ("a name has at most 63 characters", "名称最多 63 个字符"),
    (
        "a name has only lower-case letters a-z, digits and dashes",
        "名称只能用小写字母 a-z、数字和短横",
    ),
    ("a name starts and ends with a letter or a digit", "名称须以字母或数字开头和结尾"),
    ("a department path has 1 to 8 names joined by '/'", "部门路径由 1 至 8 个名称以 '/' 连接"),
];

/// Returns the Chinese of a text.
pub(super) fn text(english: &str) -> Option<&'static str> {
    TEXTS.iter().find(|(text, _)| *text == english).map(|(_, chinese)| *chinese)
}

/// Says why a value is not taken; a reason that is not known stays as it came.
pub(super) fn reason(english: &str) -> String {
    if let Some((_, range)) = english.split_once(" is not in ") {
        return format!("应在 {range} 之内");
    }
    let known = REASONS.iter().find(|(reason, _)| *reason == english);
    known.map_or(english, |(_, chinese)| chinese).to_owned()
}

#[cfg(test)]
mod tests {
    use tengyun_model::DepartmentPath;

    use super::*;

    #[test]
    fn why_a_name_or_a_number_is_not_taken_is_said_in_chinese() {
        let long = "a".repeat(1000);
        let deep = ["a"; 100].join("/");
        for bad in ["", "Ä", "-a", long.as_str(), deep.as_str()] {
            let why = bad.parse::<DepartmentPath>().unwrap_err().to_string();
            assert_ne!(reason(&why), why, "no Chinese for {why}");
        }
        for bad in ["", "x", "99999999999999999999"] {
            let why = bad.parse::<u32>().unwrap_err().to_string();
            assert_ne!(reason(&why), why, "no Chinese for {why}");
        }
        assert_eq!(reason("65 is not in 1..=64"), "应在 1..=64 之内");
        assert_eq!(reason("what a newer library says"), "what a newer library says");
    }
}
