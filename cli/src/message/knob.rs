//! What is said of knobs and of the policies that ship: units, reasons and what a policy is for.

use crate::text::Language;

/// Every text with its Chinese.
const TEXTS: &[(&str, &str)] = pairs! {
    "permille of CPU" "CPU 的千分之一"
    "hundredths of a percent of node-time" "节点时间的万分之一"
    "permille of the violation budget" "超限预算的千分之一"
    "seconds" "秒"
    "0 no, 1 yes" "0 否，1 是"
    "moves" "次迁移"
    "permille of the peak" "峰值的千分之一"
    "misses per 1000 instance-days" "每千实例天的超出次数"
    "thousandths of all instances" "全部实例的千分之一"
    "hundredths of a move" "百分之一次迁移"
    "permille of nodes" "节点的千分之一"
    "0 none, 1 node, 2 rack" "0 无，1 节点，2 机架"
    "permille of time" "时间的千分之一"
    "permille of a link" "网口速率的千分之一"
    "port number" "端口号"

    "below it a node in use is worth emptying" "在用节点低于它就值得腾空"
    "what harvest fills a node to; it gives back within a second, so a percent of room is enough"
        "填谷把节点填到此处；填谷一秒内即可让出，留百分之一已足够"
    "what foreseen peaks fill a node to; above it a node counts as overloaded"
        "按预测峰值把节点填到此处；高于它的节点视为过载"
    "so much of the time of nodes in use may be above the ceiling; margins are set by what came"
        "在用节点可有这么多时间高于上限；余量随实际情况调整"
    "so much of the budget may be above the capacity; work is lost there, not only slowed"
        "预算中可有这么多高于容量；那时工作量会丢失，不只是变慢"
    "use is averaged over such windows, and foreseen for the next; the band is meant of these"
        "用量按这样的时窗取平均并预测下一个；区间即就此而言"
    "whether how use goes through days of work and of rest is learnt; it speaks where it was right"
        "是否学习用量随工作日和休息日的起伏；只在其预测确实更准处采用"
    "until it was measured so long an instance counts its request; Borg waits 300 s"
        "测量未满此时长的实例按申请计；Borg 为 300 秒"
    "measurements older than this never overcommit a node and never move an instance"
        "比这更旧的测量既不用于超分，也不用于迁移"
    "whether standard and harvest count the memory they use instead of what they ask for; limits stay"
        "标准类与填谷类是否按实际用量而不按申请量计内存；上限不变"
    "so much is added to the highest working set, and more when more is missed than the budget has"
        "在最高工作集上加这么多；超出次数多于预算时加得更多"
    "so often may one use more than it was promised, a kill counts as four; limits are not lowered"
        "用量可有这么多次超过承诺值，因内存被杀算四次；上限不因此降低"
    "until its memory was measured so long an instance counts its request; a day has a day's peak"
        "内存测量未满此时长的实例按申请计；一天才有一天的峰值"
    "whether nodes are emptied and kept level; overloaded ones are relieved in any case"
        "是否腾空节点并保持均衡；过载的节点总会减载"
    "at least so long between two rounds of moves; nothing new is known within a window"
        "两轮迁移至少相隔这么久；一个时窗之内没有新信息"
    "the most instances that leave drained nodes at a time; each start costs its new node"
        "同时离开腾空节点的实例上限；每次启动都有代价"
    "the most instances moved by a round that empties or opens nodes; a thousand nodes take hours"
        "腾空或启用节点的一轮最多迁移的实例数；上千个节点需数小时"
    "the most instances moved by a round that levels nodes in use; more would follow noise"
        "均衡在用节点的一轮最多迁移的实例数；再多就是追随噪声"
    "moves that empty and level nodes, on average; what relieves an overload is not held back"
        "每实例每日为腾空和均衡而迁移的平均次数；为过载减载的不受限"
    "an instance is not moved again for so long; a move has to pay back first"
        "实例在此时长内不再迁移；迁移须先收回代价"
    "a replacement that is not healthy by then is given up and the old copy stays"
        "届时仍不健康的替换实例被放弃，旧副本保留"
    "a copy whose replacement failed, or that was just moved, is not renewed for so long"
        "替换失败或刚迁移的副本在此时长内不更新"
    "a service's copy that failed for good is placed anew after so long; each failure doubles it"
        "服务的副本彻底失败后隔这么久重新放置；每失败一次加倍"
    "the longest such pause; a copy that was healthy for so long begins anew with the shortest"
        "上述间隔的最大值；健康这么久的副本重新从最短间隔算起"
    "nothing is rebalanced until so many nodes have reported lately"
        "近期上报的节点达到这么多之前不作再平衡"
    "a node that was not heard for so long gets nothing new; agents report every few seconds"
        "这么久没有消息的节点不再放置新实例；代理每几秒上报一次"
    "a node that was not heard for so long may be declared lost; Mesos waits 75 s, Slurm 300 s"
        "这么久没有消息的节点可认定失联；Mesos 为 75 秒，Slurm 为 300 秒"
    "after a start or pause of the scheduler nothing is declared lost for so long"
        "调度器启动或停顿之后，在此时长内不认定失联"
    "at least so long between declaring two nodes lost; Kubernetes evicts one node in 10 s"
        "认定两个节点失联至少相隔这么久；Kubernetes 为 10 秒一个"
    "the same while more nodes than usual are silent; Kubernetes slows down to 100 s"
        "静默的节点多于平常时的间隔；Kubernetes 放慢到 100 秒"
    "while more nodes (and more than one) fell silent, losses are declared slowly"
        "静默的节点多于此数且不止一个时，放慢认定失联"
    "while more (and more than one) fell silent none is declared lost: the network is to blame"
        "静默的节点多于此数且不止一个时不认定失联：应是网络故障"
    "a node lost so soon after an instance was placed there counts as harmed by its workload"
        "放置实例后这么快就失联的节点，视为受该工作负载所害"
    "whether nodes that draw the fewest watts a core (label power-watts) are used first, others emptied first"
        "是否先用每核功率最低的节点（标签 power-watts），先腾空其他节点"
    "nodes are emptied only while all would fit without the largest node, or rack; few nodes seldom could"
        "只有失去最大的节点或机架后仍全部容得下时才腾空节点；节点少时很难做到"
    "a node whose busiest disk was busier over a window gets nothing new; above it waits grow fast, 1000 is off"
        "最忙的磁盘在一个时窗内高于它的节点不再接收新实例；再高等待急剧变长，1000 为关闭"
    "a node whose fullest link was fuller over a window gets nothing new; the rest is for bursts, 1000 is off"
        "最满的网口在一个时窗内高于它的节点不再接收新实例；其余留给突发，1000 为关闭"
    "the first port that is chosen for workloads which leave it open"
        "为未指定端口的工作负载自动分配的第一个端口"
    "the last one; below the kernel's own range, which begins at 32768"
        "最后一个端口；低于内核自用的范围（从 32768 起）"

    "the band from 60 to 80 % with 1 % of node-time above it: what holds where nothing else was chosen"
        "60 % 至 80 % 的区间，允许 1 % 的节点时间高于它：未作选择时即用它"
    "as little energy as the work can be done with: few nodes, those that draw least, filled to the top"
        "以最少的能耗完成工作：节点少、功率低、装得满"
    "for what must not suffer: more room, more history, fewer and later moves, losses declared later"
        "用于不容受损的业务：余量更大、历史更长、迁移更少更晚、认定失联更晚"
    "a node that is not well filled draws nearly as much as a full one"
        "没有装满的节点，功率几乎与装满的一样"
    "harvest fills what is left nearly to the top; what it does not use is drawn all the same"
        "填谷几乎填满余下的部分；不用也照样耗电"
    "a node counts as overloaded only when it is asked for more than it has"
        "所需超过其所有时，节点才视为过载"
    "so much of node-time may be short of CPU; CloudSim's rules compare at 5.9, moves cost some of it"
        "节点时间中可有这么多缺少 CPU；CloudSim 的规则为 5.9，迁移也占去一些"
    "the ceiling is the capacity, so the budget of the one is that of the other"
        "上限即容量，两者的预算相同"
    "each move costs both nodes; half as many as by default use no more energy on the five recorded days"
        "每次迁移都使两个节点付出代价；在五天的记录上，减半并不多耗电"
    "the nodes that do the most for a watt are used first and left last"
        "每瓦产出最多的节点先用后腾"
    "below the lower ceiling there is less room between full and worth emptying"
        "上限降低后，装满与值得腾空之间的余地更小"
    "harvest leaves the others two fifths of every node" "填谷为其他业务留出每个节点的五分之二"
    "a node that was foreseen wrongly by a tenth is still below 80 %"
        "预测偏差一成的节点仍低于 80 %"
    "a tenth of the default: one window of 5 minutes in three and a half days"
        "默认值的十分之一：三天半中一个 5 分钟时窗"
    "what is new counts its request until it was seen for an hour" "新实例在观测满一小时之前按申请计"
    "a quarter of an hour shows what a round of moves did before the next"
        "一刻钟足以看清一轮迁移的效果，再作下一轮"
    "few start at a time while nodes are drained" "腾空节点时同时启动的很少"
    "a node is emptied in several rounds, and whoever watches can stop it"
        "节点分几轮腾空，值守者可以中止"
    "half of the default: less is moved for little" "默认值的一半：少为小利而迁移"
    "an instance rests for four hours after a move" "实例迁移后四小时内不再动"
    "nearly everything must have been heard of before anything is moved"
        "几乎全部节点有消息之后才迁移"
    "a restarted switch or server is waited for" "等待交换机或服务器重启"
    "after its own pause the scheduler waits longer for agents" "调度器自身停顿之后，等待代理更久"
    "one lost node a minute, so that an operator can step in" "每分钟认定一个失联节点，以便管理员介入"
    "nothing is packed closer while the loss of the largest node could not be borne"
        "承受不起失去最大的节点时，不再装得更紧"
};

/// Says a text about knobs; one that a person wrote is shown as it came.
pub(crate) fn knob(english: &str) -> String {
    knob_in(Language::of_locale(), english).to_owned()
}

pub(super) fn knob_in(language: Language, english: &str) -> &str {
    language.among(TEXTS, english)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tengyun_engine::policy::KNOBS;
    use tengyun_lab::policies::{NAMED, named};

    use super::*;

    #[test]
    fn every_knob_and_every_policy_that_ships_is_told_in_chinese() {
        let mut all: BTreeSet<String> = BTreeSet::new();
        for knob in KNOBS {
            all.extend([knob.unit.to_owned(), knob.reason.to_owned()]);
        }
        for (name, _) in NAMED {
            let file = named(name).expect("it ships");
            all.insert(file.about);
            all.extend(file.reasons.into_values());
        }
        for text in &all {
            assert_ne!(knob_in(Language::Chinese, text), text, "no Chinese for {text:?}");
            assert_eq!(knob_in(Language::English, text), text);
        }
        for (english, _) in TEXTS {
            assert!(all.contains(*english), "nothing says {english:?} any more");
        }
        assert_eq!(knob_in(Language::Chinese, "our own reason"), "our own reason");
    }
}
