//! Nodes, workloads and instances for machines: the JSON that `get` and the verbs beside it show. Its fields
//! are a promise to scripts; it says nothing in any language of people.

use serde_json::{Value, json};
use tengyun_proto::v1;

use super::{exit, wire_word};
use crate::session::{key_of, path};

/// Makes the JSON of a node.
pub(crate) fn node_json(node: &v1::NodeView) -> Value {
    let facts = node.facts.clone().unwrap_or_default();
    let capacity = facts.capacity.clone().unwrap_or_default();
    let inventory = facts.inventory.clone().unwrap_or_default();
    let held = |e: &v1::Enforcement| {
        json!({
            "control": e.control().as_str_name(), "level": e.level().as_str_name(), "reason": e.reason,
        })
    };
    let smt = inventory.smt.unwrap_or_default();
    let mut all = json!({
        "node": node.node,
        "name": facts.name,
        "labels": facts.labels,
        "connected": node.connected,
        "state": node.state,
        "wish": node.wish,
        "lost_millis": node.lost_millis,
        "seen_millis": node.seen_millis,
        "generation": node.generation,
        "applied_generation": node.applied_generation,
        "capacity_cpu_millicores": capacity.cpu_millicores,
        "capacity_memory_mib": capacity.memory_mib,
        "capacity_disk_mib": capacity.disk_mib,
        "capacity_pids": capacity.pids,
        "instances": node.instances,
        "binding": node.binding,
        "kernel": inventory.kernel,
        "architecture": inventory.architecture,
        "cpu_model": inventory.cpu_model,
        "sockets": inventory.sockets,
        "cores": inventory.cores,
        "threads": inventory.threads,
        "smt": {
            "cores": smt.cores,
            "gain_permille": smt.gain_permille,
            "source": wire_word(smt.source().as_str_name(), "SMT_SOURCE_"),
        },
        "numa_nodes": inventory.numa_nodes,
        "memory_mib": inventory.memory_mib,
        "cgroup": inventory.cgroup().as_str_name(),
        "psi": inventory.psi,
        "root": inventory.root,
        "enforcement": facts.enforcement.iter().map(held).collect::<Vec<_>>(),
    });
    if let (Value::Object(all), Value::Object(load)) = (&mut all, load_json(node)) {
        all.extend(load);
    }
    all
}

/// Makes the JSON of what a node does: apart, because one macro takes only so many fields.
fn load_json(node: &v1::NodeView) -> Value {
    let usage = node.usage.clone().unwrap_or_default();
    json!({
        "used_cpu_millicores": usage.cpu_millicores,
        "foreign_cpu_millicores": usage.cpu_foreign_millicores,
        "used_memory_mib": usage.memory_mib,
        "harvest_allowance_millicores": usage.harvest_allowance_millicores,
        "pressure_cpu_permille": usage.pressure_cpu_permille,
        "disk_busy_permille": node.disk_busy_permille,
        "network_busy_permille": node.network_busy_permille,
        "network_bytes_per_second": usage.network_bytes_per_second,
        "occupied": node.occupied,
        "forecast_cpu_millicores": node.forecast_cpu_millicores,
        "margin_cpu_millicores": node.margin_cpu_millicores,
        "ceiling_cpu_millicores": node.ceiling_cpu_millicores,
        "accuracy": node.accuracy.as_ref().map(accuracy_json),
        "reserved_cpu_millicores": node.reserved_cpu_millicores,
        "reserved_memory_mib": node.reserved_memory_mib,
        "promised_memory_mib": node.promised_memory_mib,
    })
}

/// Makes the JSON of a workload.
pub(crate) fn workload_json(w: &v1::WorkloadView) -> Value {
    let spec = w.spec.clone().unwrap_or_default();
    json!({
        "workload": path(key_of(w.spec.as_ref())),
        "id": w.workload,
        "kind": wire_word(spec.kind().as_str_name(), "KIND_"),
        "class": wire_word(spec.class().as_str_name(), "CLASS_"),
        "revision": w.revision,
        "wish": w.wish,
        "instances": spec.instances,
        "waiting": w.waiting,
        "running": w.running,
        "healthy": w.healthy,
        "succeeded": w.succeeded,
        "failed": w.failed,
        "used_cpu_millicores": w.cpu_used_millicores,
        "used_memory_mib": w.memory_used_mib,
        "applied_millis": w.applied_millis,
        "mean_cpu_millicores": w.mean_cpu_millicores,
        "margin_cpu_millicores": w.margin_cpu_millicores,
        "accuracy": w.accuracy.as_ref().map(accuracy_json),
        "rollout": w.rollout,
        "next_run_millis": w.next_run_millis,
    })
}

/// Makes the JSON of an instance.
pub(crate) fn instance_json(i: &v1::InstanceView) -> Value {
    let status = i.status.clone().unwrap_or_default();
    json!({
        "instance": i.instance,
        "workload": path(i.key.clone().unwrap_or_default()),
        "ordinal": i.ordinal,
        "revision": i.revision,
        "node": i.node,
        "node_name": i.node_name,
        "phase": wire_word(status.phase().as_str_name(), "PHASE_"),
        "wanted": i.wanted,
        "incarnation": status.incarnation,
        "pid": status.pid,
        "exit": exit(status.exit.as_ref()),
        "message": status.message,
        "since_millis": status.since_millis,
        "replaces": i.replaces,
        "used_cpu_millicores": i.cpu_used_millicores,
        "used_memory_mib": i.memory_used_mib,
        "io_bytes_per_second": i.io_bytes_per_second,
        "promised_memory_mib": i.promised_memory_mib,
        "forecast_cpu_millicores": i.forecast_cpu_millicores,
        "expected": i.expected.as_ref().map(expected_json),
        "accuracy": i.accuracy.as_ref().map(accuracy_json),
        "reason": i.reason,
        "ports": i.ports.iter().map(|p| json!({"name": p.name, "number": p.number})).collect::<Vec<_>>(),
    })
}

/// Makes the JSON of what an instance is expected to use.
pub(crate) fn expected_json(expected: &v1::Expected) -> Value {
    json!({
        "mean_millicores": expected.mean_millicores,
        "margin_millicores": expected.margin_millicores,
        "measured": expected.measured,
    })
}

/// Makes the JSON of what an instance counts of memory.
pub(crate) fn counted_json(counted: &v1::MemoryCounted) -> Value {
    json!({
        "request_mib": counted.request_mib,
        "promised_mib": counted.promised_mib,
        "peak_mib": counted.peak_mib,
        "margin_permille": counted.margin_permille,
        "until_millis": counted.until_millis,
    })
}

/// Makes the JSON of how good forecasts were.
pub(crate) fn accuracy_json(of: &v1::Accuracy) -> Value {
    json!({
        "windows": of.windows, "missed": of.missed, "error_thousandths": of.error_thousandths,
    })
}
