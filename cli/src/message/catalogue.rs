//! What the verbs say: every sentence beside its Chinese.

use std::fmt::Display;

use crate::text::Language;

messages! {
    /// One sentence with its arguments.
    Message;

    CopyJournal {} "copying the journal while the scheduler goes on" "正在复制日志，调度器继续运行"
    CheckJournal {} "replaying the journal from its first entry" "正在从第一条记录起重放日志"
    CheckArchive { size } "checking all {size} of the archive" "正在校验整个备份（{size}）"
    CopyFile { path, size } "{path}: {size}" "{path}：{size}"
    BackedUp { file, entry, nodes, files, size }
        "{file}: journal up to entry {entry}, {nodes} nodes, {files} files, {size}"
        "{file}：日志至第 {entry} 条，{nodes} 个节点，{files} 个文件，{size}"
    BackupIsSecret {}
        "it holds the authority's key: keep it as safe as that"
        "备份内含签发机构的私钥，请按私钥的级别保管"
    Restored { dir, entry, made, nodes }
        "{dir}: restored to entry {entry} of {made}; {nodes} nodes are known"
        "{dir}：已恢复至 {made} 的第 {entry} 条记录，已知 {nodes} 个节点"
    RestoreObserves {}
        "next: start the scheduler; it only observes until 95 % of the nodes have reported and run nothing unknown, or until `tengyun confirm-restore`: see `tengyun status`"
        "下一步：启动调度器。在 95 % 的节点上报且没有未知实例之前，或执行 `tengyun confirm-restore` 之前，它只观察；详见 `tengyun status`"
    RestoreConfirmed {}
        "confirmed: nodes run what the journal says from now on"
        "已确认：从现在起各节点按日志运行"
    StrangersStop { count }
        "{count} instances that the journal does not know will be stopped; say --yes if that is right"
        "日志不认识的 {count} 个实例将被停止；确认无误请加 --yes"
    ArchiveExists { file } "{file} is there already: choose another name" "{file} 已存在，请换一个文件名"
    NoJournal { dir }
        "{dir} holds no journal\nnext: say where the scheduler's state is with --state-dir, and run this on its server as its user"
        "{dir} 中没有日志\n下一步：在调度器所在服务器上，以其用户身份运行，并用 --state-dir 指明状态目录"
    NotEmpty { dir }
        "{dir} is not empty: a restore writes over nothing\nnext: stop the scheduler and move the directory away"
        "{dir} 不是空目录，恢复不会覆盖任何内容\n下一步：停止调度器，并把该目录移走"
    ArchiveDamaged { file, what }
        "{file} is no whole backup: {what}\nnext: restore another one"
        "{file} 不是完整的备份：{what}\n下一步：改用另一份备份"
    ManWritten { dir, count } "{dir}: {count} pages" "{dir}：{count} 页"
    DoctorPassed {} "every check passed" "全部检查通过"
    DoctorFailed {} "a check failed: do what it says, then ask again" "有检查不合格：请按提示处理后重试"
    Kernel { release } "Linux {release}" "内核 Linux {release}"
    KernelNext {}
        "install Linux 4.19 or newer; 3.10 is only measured and metered"
        "请安装 Linux 4.19 或更新的内核；3.10 只能观测和计量"
    CallsThere {} "openat2, pidfd and the idle class are there" "openat2、pidfd、idle 等级均可用"
    CallsMissing {}
        "openat2, pidfd or the idle class is missing; older ways are used"
        "缺少 openat2、pidfd 或 idle 等级，将使用旧的方式"
    CallsNext {} "install Linux 5.15 or newer" "请安装 Linux 5.15 或更新的内核"
    ControlGroups { version } "version {version} with cpu, memory, pids" "第 {version} 版，含 cpu、memory、pids"
    ControlGroupsMissing { missing } "no controller {missing}" "缺少控制器 {missing}"
    ControlGroupsNext {}
        "boot with cgroup_enable=memory, or mount the controllers: limits are not enforced without them"
        "启动参数加 cgroup_enable=memory，或挂载控制器；否则限额不生效"
    PressureThere {} "pressure is measured" "可测量资源压力"
    PressureMissing {} "pressure is not measured" "无法测量资源压力"
    PressureNext {} "boot with psi=1" "启动参数加 psi=1"
    TimeSynced {} "the clock is kept right" "时钟已同步"
    TimeNotSynced {} "nobody is seen to keep the clock right" "未发现时钟同步服务"
    TimeNext {} "install chrony, or `timedatectl set-ntp true`" "安装 chrony，或执行 `timedatectl set-ntp true`"
    OpenFiles { count } "{count} open files are allowed" "允许打开 {count} 个文件"
    OpenFilesNext {} "set LimitNOFILE=1048576, or `ulimit -n 65536`" "设置 LimitNOFILE=1048576，或 `ulimit -n 65536`"
    UserIdsFree { first, last } "user ids {first} to {last} are free" "用户号 {first} 至 {last} 未被占用"
    UserIdsTaken { first, last, owners }
        "user ids {first} to {last} are also those of {owners}"
        "用户号 {first} 至 {last} 与 {owners} 重叠"
    UserIdsNext {} "start the agent with another --uid-base" "以另一个 --uid-base 启动代理"
    SecretsMemory {} "/run is in memory: secrets touch no disk" "/run 在内存中，机密不落盘"
    SecretsDisk {} "/run is on a disk" "/run 在磁盘上"
    SecretsNext {} "mount a tmpfs on /run" "在 /run 挂载 tmpfs"
    SwapOff {} "no swap" "未启用交换分区"
    SwapOn { count } "{count} swap areas are in use" "启用了 {count} 个交换分区"
    SwapNext {}
        "`swapoff -a` and take them out of /etc/fstab: memory limits and latency suffer"
        "执行 `swapoff -a` 并从 /etc/fstab 删除：否则影响内存限额和时延"
    HugePagesAsked {} "huge pages where they are asked for" "大页按需启用"
    HugePagesAlways {} "huge pages always: memory is used that nobody asked for" "大页总是启用，会多占内存"
    HugePagesNext {}
        "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`"
        "执行 `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`"
    PidMax { pids } "{pids} processes" "最多 {pids} 个进程"
    PidMaxNext {} "`sysctl kernel.pid_max=4194304`" "执行 `sysctl kernel.pid_max=4194304`"
    SmtCores { cores } "{cores} core(s) of one thread each" "{cores} 个核，每核一个线程"
    SmtThreads { cores, threads, gain, source }
        "{cores} core(s), {threads} threads; those beyond the first add {gain} to their core ({source})"
        "{cores} 个核，{threads} 个线程；首个之外的线程使其核多出 {gain}（{source}）"
    DisksRead { disks } "use of {disks} is read" "可读取 {disks} 的使用情况"
    DisksUnread {} "no disk's use can be read" "读不到任何磁盘的使用情况"
    DisksUnreadNext {}
        "let the agent see /proc/diskstats and /sys/block; no node is held back by its disks without them"
        "让代理能看到 /proc/diskstats 和 /sys/block；否则节点不因磁盘忙而停止接收"
    LinksRead { links } "traffic of {links} is read" "可读取 {links} 的流量"
    LinkFast { link, megabits } "{link} ({megabits} Mbit/s)" "{link}（速率 {megabits} Mbit/s）"
    LinkUnknown { link } "{link} (of unknown speed)" "{link}（速率未知）"
    LinksUnread {} "no link's traffic can be read" "读不到任何网口的流量"
    LinksUnreadNext {}
        "let the agent see /proc/net/dev and /sys/class/net; no node is held back by its links without them"
        "让代理能看到 /proc/net/dev 和 /sys/class/net；否则节点不因网口满而停止接收"
    MachinePhysical {} "a physical server" "物理服务器"
    MachineVirtual {} "a virtual machine: foreign use of its host is not seen" "虚拟机：看不到宿主机上的其他占用"
    MachineContainer {} "a container: its limits bound the node" "容器：节点受容器限额约束"
    Setting { name, value } "{name} is {value}" "{name} 为 {value}"
    SettingNext { name, value } "`sysctl {name}={value}`" "执行 `sysctl {name}={value}`"
    Modules { modules } "security modules: {modules}" "安全模块：{modules}"
    ModulesNext {} "boot with SELinux or AppArmor" "启用 SELinux 或 AppArmor"
    NoStateYet { dir } "{dir} is not there yet" "{dir} 尚不存在"
    StatePrivate { dir } "{dir} is closed to others" "{dir} 不对他人开放"
    StateOpen { paths } "others may look into {paths}" "他人可以读取 {paths}"
    StateOpenNext { paths } "`chmod go= {paths}`" "执行 `chmod go= {paths}`"
    DiskFree { size, percent } "{size} free, {percent} %" "剩余 {size}，{percent} %"
    InodesFree { percent } "{percent} % of the inodes are free" "剩余 {percent} % 的 inode"
    DiskNext {} "make room, or give the state a disk of its own" "清理空间，或为状态目录配置独立磁盘"
    Sync { millis } "an fsync takes {millis} ms" "一次 fsync 需 {millis} 毫秒"
    SyncNext {} "give the journal a faster disk: every answer waits for it" "为日志换更快的磁盘：每次应答都要等它"
    SyncNotTimed { reason } "the fsync was not timed: {reason}" "未能测量 fsync：{reason}"
    SyncNotTimedNext {} "run it as the user of the state directory" "以状态目录的用户身份运行"
    CertificateUntil { file, until } "{file} holds until {until}" "{file} 有效至 {until}"
    CertificateBad { reason } "the identity cannot be used: {reason}" "身份文件不可用：{reason}"
    CertificateNext {}
        "look whether the agent reaches the scheduler; an ended one needs a token: docs/join.md"
        "检查代理能否连上调度器；已过期的需要新令牌，见 docs/join.md"
    SchedulerThere { version, wire } "version {version}, wire {wire}" "版本 {version}，协议 {wire}"
    SchedulerVersionNext {} "upgrade the older of the two" "升级较旧的一方"
    SchedulerAway { reason } "no scheduler answers: {reason}" "没有调度器应答：{reason}"
    SchedulerAwayNext {}
        "start it, or say where it is with --state-dir, --socket or --identity"
        "启动调度器，或用 --state-dir、--socket、--identity 指明位置"
    ClockApart { millis } "{millis} ms from the scheduler's clock" "与调度器时钟相差 {millis} 毫秒"
    ReadOnly { reason } "the scheduler only reads: {reason}" "调度器处于只读状态：{reason}"
    Next { what, next } "{what}\nnext: {next}" "{what}\n下一步：{next}"
    ExplainHead { instance, workload, summary }
        "instance {instance} of {workload}: {summary}"
        "{workload} 的实例 {instance}：{summary}"
    ExplainNext { next } "next: {next}" "下一步：{next}"
    TakesIt {} "yes" "可以"
    TakesItNot { why } "no: {why}" "不可：{why}"
    EventBy { details, by } "{details}, by {by}" "{details}，操作人 {by}"
    OnlyBy { by } "by {by}" "操作人 {by}"
    InRole { by, role } "{by} ({role})" "{by}（{role}）"
    NothingKept { name } "nothing is kept about {name}" "没有关于 {name} 的记录"
    SeeWorkloads {} "`tengyun get workloads`" "用 `tengyun get workloads` 查看"
    NoNode { name } "no node is called {name}" "没有名为 {name} 的节点"
    NoWorkload { name } "no workload is called {name}" "没有名为 {name} 的工作负载"
    NoWorkloadNear { name, near }
        "no workload is called {name}; did you mean {near}?"
        "没有名为 {name} 的工作负载；是否指 {near}？"
    NoInstance { name } "no instance has the number {name}" "没有编号为 {name} 的实例"
    SeveralWorkloads { name, list }
        "{name} may mean several workloads; name one:\n  {list}"
        "{name} 可能指多个工作负载，请指明其一：\n  {list}"
    SeeNodes {} "`tengyun get nodes`" "用 `tengyun get nodes` 查看"
    SeeInstances {} "`tengyun get instances`" "用 `tengyun get instances` 查看"
    NodeForgotten { node } "{node}: forgotten" "{node}：已注销"
    NodeLostNow { node } "{node}: lost" "{node}：已认定失联"
    NodeCordoned { node } "{node}: cordoned" "{node}：已隔离"
    NodeOpened { node } "{node}: open" "{node}：已启用"
    NodeDraining { node } "{node}: draining" "{node}：正在腾空"
    NodeDrained { node }
        "{node}: drained and empty: `tengyun uncordon` opens it again"
        "{node}：已腾空，`tengyun uncordon` 可重新启用"
    DrainEnded { node, wish }
        "somebody ended the drain of {node}: it is {wish} now"
        "{node} 的腾空已被他人结束：现为 {wish}"
    DrainStays { node, list }
        "what is left on {node} must not move:\n{list}"
        "{node} 上剩下的不得迁移：\n{list}"
    DrainSingles { node, list }
        "{node} has the only copy of these: the new one runs beside it until the old one stops\n{list}"
        "{node} 上有以下工作负载的唯一副本：旧副本停止之前，新旧副本将同时运行\n{list}"
    DrainAsk {} "drain all the same? [y/N] " "仍要腾空吗？[y/N] "
    DrainYes { node }
        "`tengyun drain {node} --yes`, or give them `move: window`"
        "执行 `tengyun drain {node} --yes`，或为其设置 `move: window`"
    DrainForce { node } "`tengyun drain {node} --force`" "执行 `tengyun drain {node} --force`"
    DrainVolumes {}
        "`tengyun stop NAME`: it starts again where its volumes are"
        "`tengyun stop NAME`：它会在卷所在之处重新启动"
    WouldDrain { node, go, stop, stay }
        "{node}: {go} would go to other nodes, {stop} be queued again, {stay} stay"
        "{node}：{go} 个将迁往其他节点，{stop} 个将重新排队，{stay} 个将留下"
    DrainUnrehearsed {}
        "the scheduler is older and cannot rehearse a drain"
        "调度器版本较旧，不能预演腾空"
    DrainLeft { node, left, moving, stopping }
        "{node}: {left} left, {moving} moving, {stopping} stopping"
        "{node}：剩 {left} 个，{moving} 个迁移中，{stopping} 个停止中"
    WorkloadReleased { workload } "{workload}: released" "{workload}：已解除暂停"
    InstanceMoves { instance, node } "instance {instance}: moves to {node}" "实例 {instance}：正在迁移到 {node}"
    RolloutSteeredPause { workload } "{workload}: paused" "{workload}：已暂停"
    RolloutSteeredResume { workload } "{workload}: resumed" "{workload}：已继续"
    RolloutSteeredUndo { workload } "{workload}: going back" "{workload}：正在退回"
    RolloutNoneGood {} "none yet" "尚无"
    RolloutCopies { wanted, renewed, proven, old }
        "{wanted} wanted, {renewed} of this revision, {proven} proved healthy, {old} of others"
        "需要 {wanted} 个，本版本 {renewed} 个，已证实健康 {proven} 个，其他版本 {old} 个"
    RolloutFailures { failures, limit } "{failures}, {limit} are too many" "{failures} 个，达到 {limit} 个即为失败"
    StatusReadOnly { reason } "read-only: {reason}" "只读：{reason}"
    StatusReadWrite {} "read and write" "读写"
    StatusVersion { version, wire } "tengyun {version} (wire {wire})" "tengyun {version}（协议 {wire}）"
    StatusJournal { entry, epoch } "entry {entry}, epoch {epoch}" "第 {entry} 条记录，第 {epoch} 任期"
    StatusNodes { known, connected, used, least }
        "{known} known, {connected} connected, {used} in use{least}"
        "已知 {known} 个，在线 {connected} 个，使用中 {used} 个{least}"
    StatusAtLeast { nodes, by }
        ", no fewer than {nodes} could do, by {by}"
        "，按 {by} 计不能少于 {nodes} 个"
    StatusMoves { moves } "{moves} ever" "累计 {moves} 次"
    UnreachableNext {}
        "start it with `tengyun up`, or say where it is with --state-dir or --socket"
        "用 `tengyun up` 启动它，或用 --state-dir、--socket 指明位置"
    LoginNext {} "`tengyun login --name NAME TOKEN` makes one" "用 `tengyun login --name NAME TOKEN` 取得"
    ReadOnlyNext {} "restore a backup, or start it without --read-only" "恢复备份，或去掉 --read-only 启动"
    ErrorIs { what } "error: {what}" "错误：{what}"
    CannotRead { what, error } "cannot read {what}: {error}" "无法读取 {what}：{error}"
    CannotMake { what, error } "cannot make {what}: {error}" "无法创建 {what}：{error}"
    CannotWriteOutput { error } "cannot write the output: {error}" "无法写出结果：{error}"
    CannotReadMetrics { error } "cannot read metrics: {error}" "无法读取指标：{error}"
    StandardInput {} "standard input" "标准输入"
    Cores { amount } "{amount} cores" "{amount} 核"
    CoreHours { amount } "{amount} core-h" "{amount} 核时"
    PartOf { part, whole } "{part} of {whole}" "{part} / 共 {whole}"
    Both { one, other } "{one}, {other}" "{one}，{other}"
    NoAnswer { message } "the scheduler does not answer: {message}" "调度器没有应答：{message}"
    SchedulerFailed { message } "the scheduler failed: {message}" "调度器出错：{message}"
    NotRenewed { error } "the certificate was not renewed: {error}" "证书未能续期：{error}"
    GiveMoment {}
        "give a moment (2026-01-31T08:00:00+08:00) or a time (90s, 15m, 2h, 7d)"
        "请给出时刻（2026-01-31T08:00:00+08:00）或时长（90s、15m、2h、7d）"
    ApplyRefused { name, why } "{name}: refused: {why}" "{name}：被拒绝：{why}"
    Applied { name, effect, revision }
        "{name}: {effect} (revision {revision})"
        "{name}：{effect}（版本 {revision}）"
    DryRun {} "dry run: nothing was changed" "试运行：未作任何更改"
    SomeRefused { count, all } "{count} of {all} were refused" "{all} 个中有 {count} 个被拒绝"
    WorkloadStopping { workload } "{workload}: stopping" "{workload}：正在停止"
    WorkloadDeleting { workload } "{workload}: deleting" "{workload}：正在删除"
    NoInstanceOnNode { name }
        "{name} has no instance on a node\nnext: tengyun explain {name}"
        "{name} 在任何节点上都没有实例\n下一步：tengyun explain {name}"
    SeveralInstances { name, list }
        "{name} has several instances; name one of {list}"
        "{name} 有多个实例，请指明其一：{list}"
    StartAgent {} "start its agent:" "启动它的代理："
    NodeJoined { name, id } "node {name} joined as number {id}" "节点 {name} 已加入，编号 {id}"
    PersonIsIn { name, file }
        "{name} is in; the identity is in {file}"
        "{name} 已登录，身份保存在 {file}"
    JoinedBefore { file }
        "{file} is there: it joined before; say --again to replace it"
        "{file} 已存在：此前已加入；如要替换请加 --again"
    CannotReadToken { error } "cannot read the token: {error}" "无法读取令牌：{error}"
    HostNameIsNone { name }
        "the host name {name} is no node name: say --name"
        "主机名 {name} 不能作节点名，请用 --name 指定"
    TokenLetsIn { whom, until }
        "this token lets in {whom}, once, until {until}; on its machine:"
        "此令牌限用一次，有效至 {until}，准入{whom}；请在对方机器上执行："
    DepartmentWithRole { said }
        "--department{said} goes with --role department, and only with it"
        "--department{said} 须与 --role department 同时使用，也只能与它同时使用"
    NodeOrPerson {}
        "say --node NAME, or --person NAME with --role ROLE"
        "请用 --node NAME，或 --person NAME 加 --role ROLE"
    SecretKept { name, version } "{name} is kept as version {version}" "{name} 已保存为版本 {version}"
    GiveValue {}
        "give the value on standard input, or with --from-file FILE"
        "请从标准输入给出值，或用 --from-file FILE"
    CannotReadValue { error } "cannot read the value: {error}" "无法读取值：{error}"
    SecretBytes { most } "a secret has 1 to {most} bytes" "机密应为 1 至 {most} 字节"
    OldKeys {}
        "the old keys open nothing any more but backups made before"
        "旧密钥除此前的备份外不能再打开任何内容"
    NewKeys { departments } "new keys for {departments} departments" "已为 {departments} 个部门换新密钥"
    NoVolumesThere { copy, name }
        "copy {copy} of {name} has no volumes there\nnext: tengyun get volumes"
        "{name} 的副本 {copy} 在那里没有卷\n下一步：tengyun get volumes"
    VolumeOn { name, node } "{name} on {node}" "{node} 上的 {name}"
    SeveralVolumes { list }
        "that may be {list}: give its whole path and --node"
        "可能是 {list}：请给出完整路径和 --node"
    VolumesRemoving { path, copy, node }
        "{path}: the volumes of copy {copy} are being removed from {node}"
        "{path}：正在从 {node} 清除副本 {copy} 的卷"
    MemberRevoked { member } "{member}: revoked" "{member}：已吊销"
    NodesInUse { nodes, least } "{nodes} in use{least}" "使用中 {nodes} 个{least}"
    InstanceSays { instance, message } "instance {instance}: {message}" "实例 {instance}：{message}"
    ExpectedAsMeasured { mean, margin }
        "{mean} on average, margin {margin} (measured)"
        "平均 {mean}，余量 {margin}（实测）"
    ExpectedAsRequested { mean, margin }
        "{mean} on average, margin {margin} (requested)"
        "平均 {mean}，余量 {margin}（申请）"
    ItStops { phase } "{phase} (stops)" "{phase}（将停止）"
    ExitCode { code } "code {code}" "退出码 {code}"
    ExitSignal { signal } "signal {signal}" "信号 {signal}"
    ExitOutOfMemory {} "out of memory" "内存不足"
    ExitNotStarted {} "not started" "无法启动"
    ExitUnknown {} "unknown" "原因不明"
    ExitUnhealthy {} "not healthy" "不健康"
    ExitPortTaken { port } "port {port} taken" "端口 {port} 被占用"
    PortNotChosen { name } "{name} (not chosen yet)" "{name}（尚未分配）"
    Processor { model, sockets, cores, threads, numa }
        "{model}: {sockets} socket(s), {cores} core(s), {threads} thread(s), {numa} NUMA node(s)"
        "{model}：{sockets} 路，{cores} 核，{threads} 线程，{numa} 个 NUMA 节点"
    SmtSingle {} "no core is known to run more than one thread" "未见有核运行多个线程"
    SmtGain { cores, gain, source }
        "{cores} core(s) run several threads, which add {gain} to each ({source})"
        "{cores} 个核有多个线程，使每核多出 {gain}（{source}）"
    NotMeasured {} "not measured" "未测量"
    BusyClosed { share } "{share}: nothing new comes" "{share}：不再接收新实例"
    DiskOn { device, mount, free, total }
        "{device} on {mount}: {free} free of {total}"
        "{device} 挂载于 {mount}：共 {total}，剩余 {free}"
    CapacityIs { cpu, memory, disk, pids }
        "{cpu}, {memory} memory, {disk} disk, {pids} processes"
        "{cpu}，内存 {memory}，磁盘 {disk}，{pids} 个进程"
    Generation { made, applied } "generation {made}, applied {applied}" "第 {made} 代，已执行第 {applied} 代"
    ControlIs { control, level } "{control}: {level}" "{control}：{level}"
    ControlIsAs { control, level, reason } "{control}: {level} ({reason})" "{control}：{level}（{reason}）"
    InstancesAre { wanted, waiting, running, healthy }
        "{wanted} wanted, {waiting} waiting, {running} running, {healthy} healthy"
        "需要 {wanted} 个，等待 {waiting} 个，运行 {running} 个，健康 {healthy} 个"
    RequestsAre { cpu, limit, memory, disk, pids }
        "{cpu} (limit {limit}), {memory} memory, {disk} disk, {pids} processes"
        "{cpu}（上限 {limit}），内存 {memory}，磁盘 {disk}，{pids} 个进程"
    AsksHttp { path, port } "{path} of port {port}" "端口 {port} 的 {path}"
    AsksTcp { port } "a connection to port {port}" "连接端口 {port}"
    ThenTold {} "is told" "报告"
    ThenAgain {} "starts again" "重启"
    HealthIs { asks, interval, timeout, passes, then, failures }
        "{asks}, every {interval} ms, at most {timeout} ms; healthy after {passes}, {then} after {failures} failures"
        "{asks}，每 {interval} 毫秒一次，至多 {timeout} 毫秒；通过 {passes} 次为健康，失败 {failures} 次则{then}"
    VolumeAt { name, path, size } "{name} at {path} ({size})" "{name} 位于 {path}（{size}）"
    CopyIs { copy, revision } "{copy} of revision {revision}" "{copy}，版本 {revision}"
    InstanceNumber { instance } "instance {instance}" "实例 {instance}"
    MemoryCounts { promised, request, peak, margin }
        "memory: counts {promised} of {request} asked for; peak {peak}, margin {margin} % where use counts"
        "内存：申请 {request}，计入 {promised}；峰值 {peak}，按用量计时余量 {margin} %"
    MemoryMissed { request, peak, until }
        "memory: counts all {request} until {until}, because it used more than it was promised; peak {peak}"
        "内存：用量曾超过承诺值，{until} 前按申请量 {request} 计；峰值 {peak}"
    ForecastIs { expected } "forecast: {expected}" "预测：{expected}"
    ForecastAhead { list } "at most within {list}" "预计最高：{list}"
    AheadIs { time, mean, peak } "{time} {mean}, peak {peak}" "{time}内 {mean}，峰值 {peak}"
    AheadIsNew { time, mean, peak }
        "{time} {mean}, peak {peak} (not measured over so long yet)"
        "{time}内 {mean}，峰值 {peak}（尚无这么长的实测）"
    AheadMinutes { minutes } "{minutes} min" "{minutes} 分钟"
    AheadHours { hours } "{hours} h" "{hours} 小时"
    ForecastSeasonal {}
        "its days of work and of rest are known, and foreseen by that"
        "已掌握其工作日与休息日的起伏，并据此预测"
    BudgetMay { share, ceiling } "{share} % of node-time above {ceiling} %" "{share} % 的节点时间可高于 {ceiling} %"
    BudgetAffected { share }
        "{share} of the time of critical and standard instances was above the ceiling"
        "关键和普通实例有 {share} 的时间处于上限之上"
    BudgetHour { day, time, share, above, windows }
        "{day} {time} {share} ({above} of {windows})"
        "{day} {time} {share}（{windows} 中的 {above}）"
    MoveLedger { day, each, left, most, daily, rest }
        "{day} in 24 h ({each} an instance); {left} of {most} may be made now, {daily} more a day; none again within {rest} min"
        "24 小时内 {day} 次（每实例 {each} 次）；现在可再迁移 {most} 次中的 {left} 次，每天增加 {daily} 次；同一实例 {rest} 分钟内不再迁移"
    AccuracyIs { missed, above, windows, error }
        "{missed} of windows above the foreseen peak ({above} of {windows}), off by {error} of use on average"
        "{missed} 的时窗高于预测峰值（{windows} 中的 {above}），平均误差为用量的 {error}"
    ForecastWas { accuracy } "so far: {accuracy}" "以往：{accuracy}"
    NodeForecast { peak, margin, ceiling }
        "{peak} at most, of that margin {margin}; filled up to {ceiling}"
        "最多 {peak}，其中余量 {margin}；可填至 {ceiling}"
    WorkloadForecast { mean, margin } "{mean} on average, margin {margin}" "平均 {mean}，余量 {margin}"
    DecisionPlaced { time, node, expected }
        "decided {time}: placed on {node}; expected then: {expected}"
        "决定于 {time}：放置到 {node}；当时预计：{expected}"
    DecisionWished { time, node, why, expected }
        "decided {time}: placed on {node}, because {why}; expected then: {expected}"
        "决定于 {time}：放置到 {node}，原因：{why}；当时预计：{expected}"
    DecisionMoved { time, from, node, why, expected }
        "decided {time}: moved from {from} to {node}, because {why}; expected then: {expected}"
        "决定于 {time}：从 {from} 迁移到 {node}，原因：{why}；当时预计：{expected}"
    DecisionPeak { node, before, after, bound }
        "{node}: peak {before} before, {after} with it, filled up to {bound}"
        "{node}：峰值原为 {before}，加上它为 {after}，可填至 {bound}"
    DecisionLeft { node, before, after } "{node}: peak {before} with it, {after} without" "{node}：峰值有它时 {before}，没有它时 {after}"
    DecisionOther { node, peak, bound } "next best: {node}, {peak} with it, filled up to {bound}" "其次：{node}，加上它为 {peak}，可填至 {bound}"
    DecisionFleet { used } "{used} nodes were in use" "当时使用 {used} 个节点"
    DecisionBound { used, needed } "{used} nodes were in use, at least {needed} were needed" "当时使用 {used} 个节点，至少需要 {needed} 个"
    DecisionNone {}
        "no record of its placement is kept: what follows is calculated now"
        "已没有放置该实例时的记录：以下为现在的计算结果"
    CalculatedNow {} "calculated now:" "现在的计算结果："
    WouldStart { copies, nodes } "{copies} would start at once: {nodes}" "{copies} 个副本将立即启动：{nodes}"
    WouldStartAfter { copies, nodes }
        "{copies} would start once harvest has left: {nodes}"
        "{copies} 个副本将在填谷实例让位后启动：{nodes}"
    WouldEvict { count } "{count} harvest instances would be evicted and queued again:" "将驱逐 {count} 个填谷实例并重新排队："
    WouldEvictHidden { count } "{count} of them of other departments" "其中 {count} 个属于其他部门"
    WouldWait { copies } "{copies} would wait for room" "{copies} 个副本将等待空位"
    WouldBeUntold { copies } "{copies} more are not looked at" "另有 {copies} 个副本未作推演"
    OnNode { node, copies } "{node} ({copies})" "{node}（{copies}）"
    BudgetUnmeasured { may } "{may}; nothing is measured yet" "{may}；尚无测量"
    BudgetSpent { may, spent, above, windows }
        "{may}; {spent} spent ({above} of {windows} node-windows)"
        "{may}；已用 {spent}（{windows} 个节点时窗中的 {above} 个）"
    ForecastNone {} "no node is foreseen by an hour of history yet" "尚无节点有一小时的历史可供预测"
    ForecastMargin { margin, from } "{margin} deviations from {from} on" "{from}起 {margin} 倍偏差"
    ForecastMissed { share, missed, foreseen, margins }
        "the peak was missed in {share} ({missed} of {foreseen} node-windows); margin {margins}"
        "峰值漏报 {share}（{foreseen} 个节点时窗中的 {missed} 个）；余量 {margins}"
    RevisionPresent { number } "{number} (present)" "{number}（当前）"
    TokenShape { prefix }
        "this is not a whole token: it must read {prefix}.<64 digits>.<64 digits>@HOST:PORT"
        "令牌不完整：应为 {prefix}.<64 位>.<64 位>@HOST:PORT"
    TokenAddress {} "the token's address must be HOST:PORT" "令牌中的地址应为 HOST:PORT"
    LineNear { what, near } "{what}\n\n  tip: did you mean {near}?" "{what}\n\n  提示：是否指 {near}？"
    LineUsage { what, usage } "{what}\n\nUsage: {usage}" "{what}\n\n用法：{usage}"
    LineHelp { what } "{what}\n\nFor more information, try --help." "{what}\n\n详情请用 --help。"
    LineNoValue { argument } "{argument} takes a value" "{argument} 需要一个值"
    LineBadValue { argument, value } "{argument} cannot be {value}" "{argument} 的值 {value} 无效"
    LineChoices { what, list } "{what}: one of {list}" "{what}，可选值：{list}"
    LineWhy { what, why } "{what}: {why}" "{what}：{why}"
    LineUnknown { argument } "there is no argument {argument}" "没有 {argument} 这个参数"
    LineNoVerb { verb } "there is no command {verb}" "没有 {verb} 这个命令"
    LineNoEquals { argument } "{argument} takes its value after an equals sign" "{argument} 与值之间应有等号"
    LineTooMany { argument, value } "{argument} takes no {value} too" "{argument} 的值 {value} 多余"
    LineNumber { argument } "{argument} takes another number of values" "{argument} 的值的个数不对"
    LineTwice { argument } "{argument} can be given once" "{argument} 只能给一次"
    LineConflict { argument, other } "{argument} does not go with {other}" "{argument} 不能与 {other} 同时使用"
    LineMissing { argument } "these are required: {argument}" "缺少必需的参数：{argument}"
    LineLacksVerb { verb, list } "{verb} needs a command: {list}" "{verb} 之后应有命令：{list}"
    LineNotUtf8 {} "an argument is no UTF-8" "有参数不是有效的 UTF-8"
    CannotConnect { what, why } "cannot connect to {what}: {why}" "无法连接 {what}：{why}"
    IdentityUnfit { why } "the identity cannot be used: join again: {why}" "身份不可用，请重新加入：{why}"
    IdentityFile { file, error } "cannot use {file} as an identity: {error}" "{file} 不能用作身份：{error}"
    IdentityOpen { file, mode }
        "{file} has mode {mode}: others may read the key; run `chmod 600 {file}`"
        "{file} 的权限为 {mode}，他人可读取私钥；请执行 `chmod 600 {file}`"
    IdentityContent { file, problem }
        "{file} is not an identity: {problem}; join again"
        "{file} 不是身份文件：{problem}；请重新加入"
    NoRandomness {} "the system gives no random bytes" "系统不提供随机数"
    AnswerCannotBe { what } "the scheduler answered what cannot be: {what}" "调度器的应答有误：{what}"
    PolicyVersion { version } "policy version {version}" "策略第 {version} 版"
    PolicyNamed { label } "policy {label}" "策略 {label}"
    PolicyVersionOf { version, label } "policy version {version} ({label})" "策略第 {version} 版（{label}）"
    PolicyDiffers { which } "{which}; * differs from the default" "{which}；* 表示与默认值不同"
    PolicyInForce { version, label }
        "policy version {version} is in force: {label}"
        "生效的是策略第 {version} 版：{label}"
    GivePolicy {}
        "give a policy (default, energy, careful or a file), or a knob and its value, such as consolidate=0\nnext: tengyun policy show"
        "请给出一个策略（default、energy、careful 或文件），或参数及其值，如 consolidate=0\n下一步：tengyun policy show"
    KnobExpected { text }
        "{text}: expected KNOB=VALUE with a whole number"
        "{text}：应为 KNOB=VALUE，值为整数"
    KnobOrPolicyExpected { text }
        "{text}: expected KNOB=VALUE with a whole number, or a policy: default, energy, careful or a file"
        "{text}：应为 KNOB=VALUE，值为整数；或一个策略：default、energy、careful 或文件"
    PolicyWrong { what } "{what}\nnext: tengyun policy show" "{what}\n下一步：tengyun policy show"
    PolicyWrongIn { origin, what }
        "{origin}: {what}\nnext: tengyun policy show"
        "{origin}：{what}\n下一步：tengyun policy show"
    PolicyUnknown { name }
        "no policy is called {name} and no file either: give default, energy, careful or a file"
        "没有名为 {name} 的策略，也没有这个文件：请给出 default、energy、careful 或文件"
    KnobUnknown { name, near }
        "no knob is called {name}; did you mean {near}?"
        "没有名为 {name} 的参数；是否指 {near}？"
    KnobNumber { name }
        "{name} must be a whole number, 0 or more, or a table that says it as its value"
        "{name} 应为不小于 0 的整数，或以它为 value 的表"
    KnobField { knob, field }
        "{knob}: of a knob can be said value, unit, default and reason, not {field}"
        "{knob}：参数只有 value、unit、default、reason 四项，没有 {field}"
    KnobUnit { knob, is, said }
        "the unit of {knob} is \"{is}\", not \"{said}\""
        "{knob} 的单位是 \"{is}\"，不是 \"{said}\""
    KnobDefault { knob, is, said }
        "the default of {knob} is {is} in this release, not {said}: the file was written for another"
        "本版本中 {knob} 的默认值是 {is}，不是 {said}：该文件是为另一版本写的"
    PolicyNotTaken { why } "the engine does not take this policy: {why}" "引擎不接受这个策略：{why}"
    UpStops {}
        "stopping every instance; this takes as long as they may take to end"
        "正在停止全部实例，用时取决于它们结束的时限"
    UpStopped {}
        "everything is stopped; the journal stays for the next `tengyun up`"
        "已全部停止；日志保留，供下次 `tengyun up` 使用"
    NoLogLevels { text } "TENGYUN_LOG={text} says no levels; try info" "TENGYUN_LOG={text} 没有给出级别，可用 info"
    DaemonEnded {} "a daemon ended before it was ready" "守护进程在就绪之前结束了"
    DaemonsLate {}
        "the daemons were not ready in time; TENGYUN_LOG=info says more"
        "守护进程未能按时就绪；TENGYUN_LOG=info 可显示更多信息"
    DaemonPanicked {} "a daemon panicked" "守护进程崩溃"
    StillStopping {} "still stopping; nothing may be left behind" "仍在停止，不会留下任何进程"
    CannotMakeState { dir, error }
        "cannot make {dir}: {error}; choose another --state-dir"
        "无法创建 {dir}：{error}；请换一个 --state-dir"
    UpReady { millis, dir }
        "tengyun is up after {millis} ms; its state is in {dir}"
        "腾云已启动，用时 {millis} 毫秒，状态目录为 {dir}"
    AllEnforced {} "every limit is enforced by the kernel" "全部限额由内核强制执行"
    NotAllEnforced { list } "not everything is enforced here:\n{list}" "以下未完全强制执行：\n{list}"
    UpNext { say }
        "in another terminal:\n  tengyun {say} apply -f examples/hello.yaml\n  tengyun {say} get nodes\nCtrl-C stops everything"
        "在另一终端执行：\n  tengyun {say} apply -f examples/hello.yaml\n  tengyun {say} get nodes\n按 Ctrl-C 全部停止"
    CannotServe { socket, error } "cannot serve on {socket}: {error}" "无法在 {socket} 上提供服务：{error}"
    DemoCut {} "stopped before the end" "演示未完即被停止"
    DemoCannot { why }
        "not shown: measured utilisation of nodes, moves and latencies, because {why}"
        "未能展示：实测的节点利用率、迁移和时延，因为{why}"
    DemoNeedsRoot {}
        "the nodes are shares of this machine that only root can enforce\nnext: run it as root; `tengyun up` works without"
        "节点是本机的份额，只有 root 能强制执行\n下一步：以 root 运行；`tengyun up` 不需要 root"
    DemoNeedsCpus { needed, threads }
        "four nodes need {needed} CPUs and this machine has {threads}"
        "四个节点需要 {needed} 个 CPU，本机只有 {threads} 个"
    DemoEarlier {} "an earlier demo was cut off; ending what it left" "先前的演示中断了，正在结束其残留"
    CannotPrepare { dir, error } "cannot prepare {dir}: {error}" "无法准备 {dir}：{error}"
    CannotRemove { dir, error } "cannot remove {dir}: {error}" "无法删除 {dir}：{error}"
    CannotWrite { file, error } "cannot write {file}: {error}" "无法写入 {file}：{error}"
    DemoNoCounters {}
        "not shown: the nodes' CPU counters are not where they should be"
        "未能展示：找不到各节点的 CPU 计数器"
    DemoDaemonEnded {} "a daemon ended before the story did" "守护进程在演示结束之前结束了"
    DemoNotHeld { lines }
        "not shown: the nodes are not held to their shares\n  {lines}"
        "未能展示：节点没有被限制在其份额之内\n  {lines}"
    DemoBusiest { mean, most } "{mean} % (busiest {most} %)" "{mean} %（最忙 {most} %）"
    DemoRequests { millis, count } "{millis} ({count} requests)" "{millis}（{count} 个请求）"
    ServiceFailed { error } "the critical service failed: {error}" "关键服务出错：{error}"
    ServiceNotRunning {} "the critical service does not run" "关键服务没有运行"
    GaveUp { what } "gave up waiting for {what}" "未等到：{what}"
    TooFewInstances { dir, needed }
        "{dir} has fewer than {needed} instances with use"
        "{dir} 中有用量的实例不足 {needed} 个"
    GeneratedSet {} "the generated set" "生成的数据"
    PlanThin { covered, wanted }
        "the history covers {covered} % of its time, {wanted} % are wanted: record longer, or close the gaps, and try again"
        "历史只覆盖其时段的 {covered} %，需要 {wanted} %：请延长记录或补齐缺口后重试"
    PlanNothingFits {}
        "no workload fits on a server of this size: choose a larger one"
        "没有工作负载能放进这种大小的服务器：请选更大的"
    PlanServers { needed, now, released }
        "{needed} servers are needed instead of {now}; {released} are released"
        "需要 {needed} 台服务器，现有 {now} 台，可腾出 {released} 台"
    PlanBinds { binding, cpu, used, requested }
        "{binding} binds; no fewer than {cpu} by CPU, {used} by memory used, {requested} by memory requested"
        "瓶颈为{binding}；按 CPU 不少于 {cpu} 台，按已用内存 {used} 台，按申请内存 {requested} 台"
    PlanRisk { risk, ceiling, utilisation, coverage, hours, bad }
        "risk {risk} % above {ceiling} %, mean CPU utilisation {utilisation} %, coverage {coverage} % of {hours} h ({bad} bad rows)"
        "高于 {ceiling} % 的风险 {risk} %，平均 CPU 利用率 {utilisation} %，数据覆盖 {hours} 小时的 {coverage} %（{bad} 行有误）"
    PlanEnergy { then, now, money_then, money_now }
        "energy {then} kWh a year instead of {now}; money {money_then} instead of {money_now}"
        "每年能耗 {then} kWh，原为 {now}；费用 {money_then}，原为 {money_now}"
    PlanMore {}
        "every server, move and department: --report FILE.html or --output json"
        "每台服务器、每次迁移和每个部门的明细：--report FILE.html 或 --output json"
    Note { note } "note: {note}" "说明：{note}"
    GiveMoney {} "an amount of money, not negative" "应为不小于 0 的金额"
    CloudsimKnows {}
        "the experiment knows thr-mmt, iqr-mmt, mad-mmt, lr-mmt and the engine"
        "该实验只支持 thr-mmt、iqr-mmt、mad-mmt、lr-mmt 和引擎"
    LabPacks {} "a list is packed" "装入列表"
    LabPlaces {} "arrivals are placed" "放置到达的实例"
    LabPlans {} "a recording is planned anew" "重新规划记录"
    LabByEngine { what }
        "{what} by the engine: give default, energy, careful or a file of knobs"
        "{what}须用引擎：请给出 default、energy、careful 或参数文件"
    OneOf { list } "one of {list}" "应为其一：{list}"
    GiveShape {} "cores and GiB, such as 32/128" "应为核数与 GiB，如 32/128"
    GiveMemory {} "none, request or used" "应为 none、request 或 used"
    GiveMemoryOrForecast {} "none, request, used or forecast" "应为 none、request、used 或 forecast"
    GivePercent {} "a number from 0 to 100" "应为 0 至 100 的数"
    GiveWindow {} "two hours of the day, such as 22-6" "应为一天中的两个钟点，如 22-6"
    GiveZone {}
        "a time zone that is known here, such as Asia/Shanghai"
        "应为本机已知的时区，如 Asia/Shanghai"
    LabNoBegin {}
        "the trace does not say when it begins, so no day of it is known: leave out --calendar and --zone"
        "该跟踪数据未注明起始时刻，无法得知日期：请去掉 --calendar 和 --zone"
    GiveBranch {} "the number of an entry, a time, or +90s, +15m, +2h" "应为记录的序号、时刻，或 +90s、+15m、+2h"
    GiveCount { most } "so many nodes as 1 to {most}" "应为 1 至 {most} 个节点"
    JournalWhole { entries } "every one of {entries} entries is as it was written" "{entries} 条记录均与写入时一致"
    SnapshotIs { entry, verdict } "of entry {entry}: {verdict}" "第 {entry} 条记录的：{verdict}"
    SnapshotNot { entry, verdict } "the snapshot of entry {entry} {verdict}" "第 {entry} 条记录的快照{verdict}"
    FromTo { from, to } "{from} to {to}" "{from} 至 {to}"
    MovesHeld { held, stale } "{held} of plans held, {stale} were stale" "规划中 {held} 次成立，{stale} 次已过时"
    ComparedSpan { entry, from, to } "after entry {entry}, from {from} to {to}" "第 {entry} 条记录之后，从 {from} 至 {to}"
    Consolidated {} "the nodes to be consolidated" "节点整合完成"
    HealthyInstances { count, lines } "{count} healthy instances; there are:{lines}" "{count} 个健康的实例；现有：{lines}"
    NoCpuCounter { file } "{file} is no CPU counter" "{file} 不是 CPU 计数器"
}
