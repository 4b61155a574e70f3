//! Chinese: every code and every kind of event. A code without a line here does not compile.

use tengyun_engine::event::EventKind;
use tengyun_model::Code;

macro_rules! sentences {
    ($($name:ident $chinese:literal)*) => {
        /// Returns what a code says in Chinese; `{0}` is its first argument.
        pub(crate) const fn sentence(code: Code) -> &'static str {
            match code {
                $(Code::$name => $chinese,)*
            }
        }
    };
}

macro_rules! kinds {
    ($($name:ident $chinese:literal)*) => {
        /// Returns what a kind of event is called in Chinese.
        pub(crate) const fn event(kind: EventKind) -> &'static str {
            match kind {
                $(EventKind::$name => $chinese,)*
            }
        }
    };
}

sentences! {
    Nothing ""
    Verbatim "{0}"
    ErrorWith "{0}：{1}"
    Aside "（{0}）"
    Further "；{0}"
    Joined "{0}{1}"
    Because "：{0}"

    UnknownWorkload "没有名为 {0} 的工作负载"
    UnknownNode "没有编号为 {0} 的节点"
    UnknownInstance "没有编号为 {0} 的实例"
    OperationReused "操作号 {0} 已用于另一项请求"
    Deleting "工作负载 {0} 正在删除"
    BadField "字段 {0} 的值应为：{1}"
    NotSupportedYet "尚不支持 {0}"
    ImmutableKind "工作负载的类型不能更改"
    ImmutableClass "工作负载的等级不能更改"
    UnknownKnob "没有名为 {0} 的参数"
    BadKnob "参数 {0} 的值应为：{1}"
    KnobRange "{0} 至 {1}（{2}）"
    KnobBandOrder "满足 band_floor、band_target、band_ceiling 依次递增"
    KnobPortOrder "不小于 port_first"
    TooMany "{1}最多 {0} 个"
    ManyNodes "节点"
    ManyWorkloads "工作负载"
    ManyInstances "实例"
    ManyTokens "令牌"
    ManyMembers "成员"
    NoCpu "需要 CPU {0}，只剩 {1}"
    NoMemory "需要内存 {0}，只剩 {1}"
    NoDisk "需要磁盘 {0}，只剩 {1}"
    NoPids "需要 {0} 个进程，只剩 {1} 个"
    PortTaken "端口 {0} 已被占用"
    NoCounter "计数资源 {0} 需要 {1}，只剩 {2}"
    NoLabel "没有标签 {0}={1}"
    AntiAffinity "已运行 {0}，两者不得同处一个节点"
    Spread "会使 {0} 的分布相差超过一个"
    NodeAway "节点的代理不在线"
    NodeCordoned "节点已隔离"
    NodeOpen "节点可用"
    NodeDrained "节点正在腾空"
    NodeLost "节点已失联"
    NodeThere "节点 {0} 的代理在线"
    NobodySilent "没有节点静默到足以认定失联"
    AlreadyThere "实例已在该节点"
    Held "{0} 已被暂停：启动后不久先后有 {1} 个节点失联"
    NoData "节点的用量尚不清楚"
    UnknownToken "没有这个令牌"
    TokenUsed "令牌已被使用"
    TokenExpired "令牌已过期"
    TokenForOther "令牌是给{0}的"
    NameTaken "{0}已经存在"
    UnknownMember "{0}从未加入"
    NotThisNode "证书不属于或不再属于节点 {0}"
    Stale "情况已变化：{0}"
    NoPort "需要 {0} 个自动分配的端口，范围内只剩 {1} 个"
    VolumesElsewhere "它的卷在节点 {0} 上"
    KeepsVolumes "它的卷留在所在节点，实例随卷留下"
    UnknownVolumes "{0}在该节点没有卷"
    VolumesInUse "实例 {0} 正在使用这些卷"
    NotRestored "没有等待确认的恢复"
    OnlyThere "它属于节点 {0}，只能在该节点启动"
    DependsOn "它依赖 {0}，而后者{1}"
    LacksExistence "不存在"
    LacksWish "已停止"
    LacksHealthyCopy "没有健康的副本"
    LacksGoodEnd "尚未成功结束"
    LacksGoodRun "没有成功结束的运行"
    Circle "它会经由 {0} 依赖自身"
    NoRollout "{0} 没有正在进行的发布"
    NoRevision "{0} 没有保留这个版本，或没有可退回的版本"
    NoPolicyVersion "没有保留策略的第 {0} 版"
    NotLost "节点 {0} 没有失联：它可能仍在运行所分配的实例"
    MayStillRun "节点 {0} 上可能还有 {1} 个实例在运行"
    HasVolumes "节点 {0} 存有 {1} 个副本的卷"
    RestsAfterFailure "它已连续失败 {0} 次，还需等待 {1} 秒"
    InGang "其成组的 {0} 个等待实例只能同时全部启动，否则一个也不启动"

    PastReplaced "被替换的实例已不存在"
    PastRevision "工作负载的版本已不存在"
    PastNode "实例的节点已不存在"
    PastWorkloadOf "实例的工作负载已不存在"
    PastOthersUse "填谷实例所依附的其他用量已不存在"
    PastHolderOfVolumes "先前的副本仍占有它的卷"
    PastEarlierCopy "先前的副本尚未停止，两者不得同时运行"
    PastEarlierRun "上一次运行尚未结束"
    PastGoodRevision "没有可用的良好版本"
    PastAlone "实例正在替换或被替换"
    PastWaiting "实例不再等待"
    PastNodeOfVolumes "卷所在的节点已不存在"
    PastPlace "实例已不在原处"
    PastShiftReason "迁移的理由已不成立"
    PastStopReason "停止的理由已不成立"
    PastRemoval "它先前的卷仍在清除"
    PastRollout "发布已不在进行"
    PastScheduled "计划时间已处理"
    PastInstanceWish "实例已不要求运行"
    PastWorkloadWish "工作负载已不要求运行"
    PastWorkload "工作负载已不存在"
    PastPolicyVersions "策略的版本记录不一致"

    ReadOnly "调度器处于只读状态：{0}"
    NotListening "调度器没有对外监听"
    NotYours "{0} 不在您所属的部门之内"
    SecretInUse "{0} 正在使用机密 {1}"
    UnknownSecret "没有机密 {0}"
    BadSecret "机密应为 1 至 {0} 字节"
    TooManySecrets "{0} 已有 {1} 个机密"

    DoListWorkloads "用 `tengyun get workloads` 查看"
    DoListNodes "用 `tengyun get nodes` 查看"
    DoListInstances "用 `tengyun get instances` 查看"
    DoNewOperation "新的请求请用新的操作号"
    DoWaitDeleted "等它删除后再应用"
    DoCorrect "改正该字段后重新应用"
    DoLeaveOut "请去掉它"
    DoDeleteFirst "先删除该工作负载，再应用"
    DoListKnobs "用 `tengyun policy show` 查看"
    DoPolicyHistory "用 `tengyun policy history` 查看"
    DoSeeRange "用 `tengyun policy show` 查看取值范围"
    DoDelete "删除不再需要的"
    DoAskLess "减少申请，或增加节点"
    DoOtherPort "换一个端口，或增加节点"
    DoLabel "给节点加上该标签，或去掉这一约束"
    DoRelax "增加节点，或放宽约束"
    DoStartAgent "启动它的代理"
    DoUncordon "用 `tengyun uncordon` 重新启用"
    DoBringBack "恢复它；若已断电，执行 `tengyun acknowledge-loss --dead`"
    DoNothingNotLost "无需处理：它没有失联"
    DoNothingThere "无需处理：它已在应在之处"
    DoMend "修复后执行 `tengyun release`"
    DoAwaitReports "等待它的第一次上报"
    DoNewToken "用 `tengyun token create` 另建一个"
    DoTokenForIt "用 `tengyun token create` 为它建一个"
    DoOtherName "换一个 --name，或用 `tengyun token create --node NAME` 为该名字建令牌"
    DoListMembers "用 `tengyun members` 查看"
    DoOwnName "给代理自己的 --name，或用 `tengyun token create --node NAME` 建令牌后重新加入"
    DoWidenPorts "扩大 port_first 至 port_last 的范围，或增加节点"
    DoSeeVolumes "用 `tengyun get volumes` 查看；副本只有在没有卷时才能离开节点"
    DoListVolumes "用 `tengyun get volumes` 查看"
    DoStopFirst "先停止它的工作负载"
    DoNothingBelongs "无需处理：它属于那个节点"
    DoMendDependency "应用或修复它：`tengyun explain` 会说明缺什么"
    DoDropDependency "去掉其中一个依赖"
    DoSeeRollout "用 `tengyun rollout status` 查看进展"
    DoListRevisions "用 `tengyun rollout history` 查看"
    DoNothingPlan "无需处理：下一次规划会考虑"
    DoNothingStatus "无需处理：见 `tengyun status`"
    DoWritable "停止它，去掉 --read-only 再启动"
    DoListen "用 --listen ADDRESS:PORT 启动它"
    DoAskOperator "请找管理员，或改用本部门的名字"
    DoDeleteUser "先删除该工作负载，或去掉机密后重新应用"
    DoSetSecret "用 `tengyun secret set {0}` 设置后重新应用"
    DoArtifact "较大的内容请放入制品"
    DoDrainFirst "先腾空节点并停止其代理；若已断电，执行 `tengyun acknowledge-loss {0} --dead`"
    DoAcknowledge "若已断电，执行 `tengyun acknowledge-loss {0} --dead`，或加 --dead"
    DoDeleteVolumes "用 `tengyun get volumes` 查看，并删除不再需要的卷"
    DoSeeLogs "用 `tengyun logs` 查看原因，修复后重新应用"
    DoAwaitGang "用 `tengyun explain` 查看所缺，或改为 gang: false 后重新应用"

    PhaseWaiting "等待"
    PhaseStarting "启动中"
    PhaseRunning "运行中"
    PhaseHealthy "健康"
    PhaseBackingOff "退避中"
    PhaseStopping "停止中"
    PhaseSucceeded "已成功"
    PhaseFailed "已失败"
    PhaseStopped "已停止"
    PhaseUnhealthy "不健康"
    ExitCode "退出码 {0}"
    ExitSignal "信号 {0}"
    ExitOutOfMemory "内存不足"
    ExitNotStarted "无法启动"
    ExitUnknown "原因不明"
    ExitUnhealthy "不健康"
    ExitPortTaken "端口 {0} 被其他程序占用"
    RoleOperator "管理员"
    RoleDepartment "部门 {0}"
    RoleViewer "观察员"
    MemberNode "节点 {0}"
    MemberPerson "人员 {0}"
    GrantNewNode "新节点"
    GrantPerson "人员 {0}（{1}）"
    CopyOf "{1} 的副本 {0}"

    EventEpoch "第 {0} 任期"
    EventCapacity "CPU {0}，内存 {1}"
    EventRestored "来自 {0} 秒前截止的备份"
    EventSettled "{0} 个节点所运行的均已知"
    EventDefaults "默认值"
    EventPolicy "第 {0} 版{1}：{2}"
    EventSaysSo "管理员认定"
    EventKnowsOff "管理员确认它已断电"
    EventSilent "静默过久"
    EventNotHeard "有一段时间没有消息"
    EventAdmitted "{0}，第 {1} 次准入"
    EventFor "给{0}"
    EventRevision "版本 {0}"
    EventMoving "从 {0} 迁移到 {1}，新实例 {2}：{3}"
    EventHarms "先后有 {0} 个节点在其下失联"
    EventOfCopy "副本 {0}"
    EventStart "第 {0} 次启动"
    EventForgotten "原编号 {0}，证书已失效"
    EventReturned "从版本 {0} 退回 {1}：{2}"
    EventHalted "版本 {0}：{1}"
    EventUndone "退回版本 {0}：管理员要求"
    EventRun "第 {0} 次运行"
    EventRunWhy "第 {0} 次运行：{1}"
    WishServe "启用"
    WishCordon "隔离"
    WishDrain "腾空"
    WishDrainByForce "强制腾空"
    ShiftConsolidate "所在节点值得腾出"
    ShiftOverload "所在节点超过上限"
    ShiftRevision "工作负载有新版本"
    ShiftDrain "所在节点正在腾空"
    ShiftOperator "管理员要求"
    StopNotWanted "工作负载不再需要它"
    StopReplaced "替换它的实例已健康"
    StopEvicted "他人需要空间或节点正在腾空，已重新排队"
    StopGivenUp "未能按时健康，保留旧副本"
    StopDrained "所在节点正在腾空，已重新排队"
    StopLost "所在节点失联，已重新排队"
    StopRenewed "工作负载有新版本，将在原处启动"
    StopFailed "它已失败，等待之后重新排队"

    WhyLate "实例 {0} 在 {1} 秒内未能健康"
    WhyFailed "实例 {0} 失败{1}{2}"
    WhySank "实例 {0} 曾经健康，现已不健康{1}"
    WhyEnded "实例 {0} 自行结束"
    WhyNoRoom "副本 {0} 在 {1} 秒内没有找到空间：{2}"
    WhyRunMissed "调度器发现得太晚"
    WhyRunBefore "上一次运行尚未结束"
    WhyRunsMany "正在进行的运行过多"
    WhyRunReplaced "由下一次运行取代"
    WhyRunStopped "工作负载已停止"

    RolloutAdvances "正在发布版本 {0}：{2} 个副本中 {1} 个已证实健康{3}{4}"
    RolloutPaused "版本 {0} 的发布已暂停：{2} 个副本中 {1} 个已证实健康{3}"
    RolloutHalted "版本 {0} 发布失败，等待处理：{1}"
    RolloutReturns "正在退回版本 {0}：{2} 个副本中 {1} 个已证实健康{3}"
    RolloutFailures "，{0} 个失败（{1}）"
    RolloutWindow "；等待维护时段"
    RolloutNoRoom "；其中 {0} 个没有空间：{1}"
    RolloutFailed "；版本 {0} 失败：{1}"

    WaitsNobody "等待：还没有节点加入"
    WaitsVolumes "等待 {0}，它的卷在那里：{1}"
    WaitsSoon "即将启动"
    WaitsNone "等待：{0} 个节点都无法容纳"
    WaitsSome "等待：{1} 个节点中有 {0} 个即将可以容纳"
    WaitsFor "等待：{0}"
    WaitsHome "等待 {0}，它属于那里：{1}"
    WaitsGang "与成组的 {0} 个实例整体等待（gang: true）：目前可容纳 {1} 个，第一个无法容纳者所缺：{2}"
    StartsHome "即将在 {0} 启动，它属于那里"
    Uses "预计最多使用 {0}（{1}）"
    BasisMeasured "实测"
    BasisRequested "申请"
    IsStopping "正在 {0} 停止：{1}"
    IsReplacing "正在 {0} 启动以替换实例 {1}，{2}"
    IsReplaced "在 {0} 运行，直到实例 {1} 在别处健康，{2}"
    LostLeaves "曾在 {0}，该节点已失联，即将在别处启动"
    LostOnly "等待 {0}，该节点已失联：这是唯一的副本，可能仍在运行"
    LostWaits "等待 {0}，该节点已失联：实例可能仍在运行（on_lost: wait）"
    NotHeard "在 {0}，该节点已 {1} 秒没有消息"
    DrainedStays "；节点正在腾空，但它不得迁移"
    DrainedKeeps "；节点正在腾空，但它的卷在此"
    DrainedWindow "；节点正在腾空，它等待维护时段"
    DrainedLeaves "；节点正在腾空，它将离开"
    CannotStart "无法在 {0} 启动：{1}{2}{3}"
    TriedAgain "；将再次尝试"
    Crashes "在 {0} 反复崩溃：第 {2} 次启动后{1}，将再次启动{3}"
    Ended "结束"
    Is "{0}{1}，位于 {2}，{3}{4}{5}"

    HelpRelease "修复后执行 `tengyun release {0}`"
    HelpBringBack "恢复 {0}；若已断电，执行 `tengyun acknowledge-loss {0} --dead`"
    HelpStop "`tengyun stop {0}`：它会在卷所在之处重新启动"
    HelpForce "`tengyun drain {0} --force` 会先停止它，再在别处启动"
    HelpAgent "启动代理：`tengyun up`，或在服务器上启动 `tengyun-agent`"
    HelpForeign "结束 {0} 上不属于本云的程序（最多占用 {1}），或增加节点"
    HelpNode "增加节点"
    HelpLowerCpu "把 resources.cpu 降到 {0} 以内即可放入 {1}，或增加节点"
    HelpLowerMemory "把 resources.memory 降到 {0} 以内即可放入 {1}，或增加节点"
    HelpLowerDisk "把 resources.disk 降到 {0} 以内即可放入 {1}，或增加节点"
    HelpLowerPids "把 resources.pids 降到 {0} 以内即可放入 {1}，或增加节点"
    HelpLowerCounter "把计数资源 {0} 的申请降到 {1} 以内即可放入 {2}"
    HelpPort "换掉端口 {0}，或增加节点"
    HelpPorts "扩大 port_first 至 port_last 的范围，或增加节点"
    HelpLabel "去掉约束 {0}={1}，或增加有该标签的节点"
    HelpAntiAffinity "去掉与 {0} 的互斥，或增加节点"
    HelpSpread "增加一个 {0} 取值不同的节点"
    HelpAgentOf "重新启动 {0} 的代理"
    HelpBack "恢复 {0}，或增加节点"
    HelpUncordon "`tengyun uncordon {0}`，或增加节点"
    HelpMove "`tengyun move {0} --to {1}` 可行"

    LeaveReturns "节点恢复后停止"
    LeaveNever "move: never；--force 会先停止它，再在别处启动"
    LeaveVolumes "它的卷在此节点：只有停止后才离开"
    LeaveWindow "move: window，维护时段未到；--force 可立即迁移"
    LeaveRests "刚刚迁移或尝试过，暂缓"
    LeaveLost "节点已失联，它可能仍在运行"
    LeaveUnhealthy "它正在替换另一个实例，尚未健康"
    LeaveRenewed "正在更新版本"
    LeaveTurn "等待轮到：同时迁移的数量有限"
    LeaveNoRoom "没有其他节点可以容纳：{0}"

    ReasonReplaces "替换先前的副本"
    ReasonRoom "等待空间"
    ReasonNotWanted "不再需要"
    ReasonReplaced "替换它的实例已健康"
    ReasonEvicted "被驱逐：他人需要空间"
    ReasonGivenUp "未能按时健康"
    ReasonDrained "所在节点正在腾空"
    ReasonLost "所在节点失联，恢复后停止"
    ReasonRenewed "新版本将在原处启动"
    ReasonFailed "已失败，重新排队"

    ReserveHeld "有保障：失去最大的{0}后，全部实例仍有位置；需要 {1} 个节点，现有 {2} 个"
    ReserveMissing "无保障：失去最大的{0}后，部分实例将没有位置；需要 {1} 个节点，现有 {2} 个；在此期间不腾空节点"
    ReserveNode "节点"
    ReserveRack "机架"
    StatusReports "等待上报：{1} 个节点中 {0} 个已上报"
    StatusOn "开启"
    StatusOff "关闭"
    StatusSilent "{1} 个节点中 {0} 个静默"
    StatusGrace "{0}；{1} 秒内不会认定失联，代理可能恢复"
    StatusHeld "{0}：不认定失联，请检查网络；若确已失联，执行 `tengyun acknowledge-loss`"
    StatusDomain "{0}：其中 {1} 个属于同一机架或区域，请检查其网络；若确已失联，执行 `tengyun acknowledge-loss`"
    StatusSlow "{0}：放慢认定失联"
    StatusUsual "{0}：逐个认定失联"
    StatusFound "{1} 个节点中 {0} 个已上报；{2} 个运行中的实例日志不认识，日志认识的 {3} 个没有运行"
    StatusObserves "仅观察，不启动也不停止：{0}"
    StatusUnsettled "{0} 个节点暂不下发：{1}"
}

kinds! {
    SchedulerStarted "调度器启动"
    NodeRegistered "节点登记"
    NodeChanged "节点变更"
    WorkloadStopped "工作负载停止"
    WorkloadDeleted "工作负载删除"
    WorkloadReleased "工作负载解除暂停"
    WorkloadCreated "工作负载创建"
    WorkloadUpdated "工作负载更新"
    NodeWish "节点期望"
    NodeLost "节点失联"
    NodeReturned "节点恢复"
    TokenCreated "令牌创建"
    MemberJoined "成员加入"
    MemberRevoked "成员吊销"
    Restored "恢复备份"
    RestoreSettled "恢复已落定"
    RestoreConfirmed "恢复已确认"
    NodeSuspect "节点可疑"
    NodeConnected "节点上线"
    NodeAway "节点离线"
    VolumesRemoving "卷清除中"
    VolumesRemoved "卷已清除"
    PolicyChanged "策略变更"
    Started "已启动"
    Healthy "健康"
    Unhealthy "不健康"
    Restarting "重启"
    Ended "结束"
    Failed "失败"
    Stopped "已停止"
    Placed "已调度"
    Moving "迁移中"
    Stopping "停止中"
    Moved "已迁移"
    Evicted "驱逐"
    MoveGivenUp "迁移放弃"
    InstanceLost "实例失联"
    Renewing "更新中"
    Queued "排队"
    WorkloadHeld "工作负载暂停"
    RolloutComplete "发布完成"
    RolloutReturned "发布退回"
    RolloutHalted "发布中止"
    RolloutPaused "发布暂停"
    RolloutResumed "发布继续"
    RolloutUndone "发布撤销"
    RunDue "运行到期"
    RunSkipped "运行跳过"
    RunMissed "运行错过"
    NodeForgotten "节点注销"
    Retried "重新尝试"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_chinese(text: &str) -> bool {
        text.chars().any(|c| matches!(c, '\u{4e00}'..='\u{9fff}'))
    }

    /// The words of a sentence outside its arguments.
    fn outside(sentence: &str) -> String {
        sentence.split('{').map(|part| part.rsplit('}').next().unwrap_or_default()).collect()
    }

    #[test]
    fn every_code_is_said_in_both_languages_with_all_its_arguments() {
        for code in Code::ALL {
            let (english, chinese) = (code.english(), sentence(*code));
            let words = [("English", english), ("Chinese", chinese)];
            for (language, text) in words {
                for place in 0..code.arity() {
                    let named = text.contains(&format!("{{{place}}}"));
                    assert!(named, "{code:?} lacks argument {place} in {language}");
                }
                assert!(!text.contains(&format!("{{{}}}", code.arity())), "{code:?} in {language}");
            }
            assert!(!is_chinese(english), "{code:?}: {english}");
            let spoken = outside(english).contains(char::is_alphabetic);
            assert_eq!(is_chinese(chinese), spoken, "{code:?}: {chinese}");
            let commands = |text: &str| -> Vec<String> {
                let parts = text.split('`').enumerate().filter(|(at, _)| at % 2 == 1);
                parts.map(|(_, part)| part.to_owned()).collect()
            };
            let (mut one, mut other) = (commands(english), commands(chinese));
            one.sort();
            other.sort();
            assert_eq!(one, other, "{code:?} names other commands in Chinese");
        }
    }

    #[test]
    fn every_kind_of_event_has_a_name_of_its_own_in_chinese() {
        let names: std::collections::BTreeSet<&str> =
            EventKind::ALL.iter().map(|kind| event(*kind)).collect();
        assert_eq!(names.len(), EventKind::ALL.len());
        assert!(names.into_iter().all(is_chinese));
    }
}
