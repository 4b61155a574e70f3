//! Conversion: what the model says survives the wire, and what the wire says is checked.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use tengyun_model::*;
use tengyun_proto::convert::{ConvertError, operation_id};
use tengyun_proto::v1;

const NAME: &str = "[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?";
const TEXT: &str = "[^\0]{0,24}";

fn name() -> impl Strategy<Value = Name> {
    NAME.prop_map(|text| Name::new(text).unwrap())
}

fn key() -> impl Strategy<Value = WorkloadKey> {
    (vec(NAME, 1..4), name(), name()).prop_map(|(path, application, name)| WorkloadKey {
        department: DepartmentPath::new(path.join("/")).unwrap(),
        application,
        name,
    })
}

fn resources() -> impl Strategy<Value = Resources> {
    (any::<u64>(), option::of(any::<u64>()), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(cpu, limit, memory, disk, pids)| Resources {
            cpu: Millicores::new(cpu),
            cpu_limit: limit.map(Millicores::new),
            memory: Mebibytes::new(memory),
            disk: Mebibytes::new(disk),
            pids,
        },
    )
}

fn constraints() -> impl Strategy<Value = Constraints> {
    (btree_map(TEXT, TEXT, 0..3), option::of(TEXT), vec(key(), 0..3))
        .prop_map(|(labels, spread, anti_affinity)| Constraints { labels, spread, anti_affinity })
}

fn words() -> impl Strategy<Value = (Kind, Class, MovePolicy, RestartMode)> {
    use prop::sample::select;
    (
        select(vec![Kind::Service, Kind::Job, Kind::Cron, Kind::PerNode]),
        select(Class::ALL.to_vec()),
        select(vec![MovePolicy::Never, MovePolicy::Window, MovePolicy::Any]),
        select(vec![RestartMode::Always, RestartMode::OnFailure, RestartMode::Never]),
    )
}

fn files() -> impl Strategy<Value = Vec<FileSpec>> {
    let file = ("[a-z]{1,4}(/[a-z.]{3,5}x)?", vec(any::<u8>(), 0..16), 0u32..=0o777)
        .prop_map(|(path, content, mode)| FileSpec { path, content, mode });
    vec(file, 0..3)
}

fn ports() -> impl Strategy<Value = Vec<PortSpec>> {
    let port = (name(), option::of(1u16..));
    vec(port.prop_map(|(name, number)| PortSpec { name, number }), 0..3)
}

fn health() -> impl Strategy<Value = HealthCheck> {
    let probe = prop_oneof![
        (name(), "/[!-~]{0,8}").prop_map(|(port, path)| HealthProbe::Http { port, path }),
        name().prop_map(|port| HealthProbe::Tcp { port }),
        vec(TEXT, 0..3).prop_map(HealthProbe::Command),
    ];
    (probe, any::<[u64; 2]>(), any::<[u32; 2]>(), any::<bool>()).prop_map(
        |(probe, millis, counts, restart)| HealthCheck {
            probe,
            interval: Millis::new(millis[0]),
            timeout: Millis::new(millis[1]),
            passes: counts[0],
            failures: counts[1],
            on_unhealthy: if restart { OnUnhealthy::Restart } else { OnUnhealthy::Report },
        },
    )
}

fn volumes() -> impl Strategy<Value = Vec<VolumeSpec>> {
    let volume = (name(), "[a-z]{1,4}(/[a-z.]{3,5}x)?", any::<u64>());
    let make = |(name, path, size)| VolumeSpec { name, path, size: Mebibytes::new(size) };
    vec(volume.prop_map(make), 0..3)
}

fn copy() -> impl Strategy<Value = CopyKey> {
    (key(), any::<u32>()).prop_map(|(workload, ordinal)| CopyKey { workload, ordinal })
}

prop_compose! {
    fn artifact()(
        url in any::<bool>(),
        text in TEXT,
        bytes in any::<[u8; 32]>(),
        to in "[a-z]{1,4}(/[a-z.]{3,5}x)?",
        mode in 0u32..=0o777,
        (unpack, whole) in any::<(bool, bool)>(),
    ) -> Artifact {
        Artifact {
            origin: if url { Origin::Url(text) } else { Origin::Path(text) },
            digest: Digest::new(bytes),
            to: if unpack && whole { String::new() } else { to },
            mode,
            unpack,
        }
    }
}

prop_compose! {
    fn provision()(
        artifacts in vec(artifact(), 0..3),
        templates in files(),
        secrets in vec((name(), "[a-z]{1,4}(/[a-z]{1,3})?", 0u32..=0o777), 0..3),
    ) -> Provision {
        let secret = |(from, path, mode)| SecretSpec { from, path, mode };
        Provision { artifacts, templates, secrets: secrets.into_iter().map(secret).collect() }
    }
}

prop_compose! {
    fn spec()(
        key in key(),
        (kind, class, move_policy, mode) in words(),
        command in vec(TEXT, 0..4),
        files in files(),
        env in btree_map("[A-Z_]{1,8}", TEXT, 0..3),
        user in option::of("[a-z]{1,8}"),
        ports in ports(),
        (resources, health, volumes) in (resources(), option::of(health()), volumes()),
        counted in btree_map(name(), any::<u64>(), 0..3),
        (constraints, provision) in (constraints(), provision()),
        (instances, signal) in (0u32..=10_000, 1i32..=64),
        millis in any::<[u64; 4]>(),
        depends_on in vec(key(), 0..3),
    ) -> WorkloadSpec {
        WorkloadSpec {
            key, kind, class, command, files, env, user, ports, resources, counted, constraints,
            instances,
            restart: Restart {
                mode,
                backoff: Millis::new(millis[0]),
                backoff_max: Millis::new(millis[1]),
            },
            stop: Stop { signal, grace: Millis::new(millis[2]) },
            move_policy,
            startup: Millis::new(millis[3]),
            on_lost: if millis[3] % 2 == 0 { OnLost::Wait } else { OnLost::Restart },
            provision,
            health,
            volumes,
            rollout: rollout(millis, instances),
            schedule: (millis[1] % 2 == 0).then(|| schedule(millis)),
            window: (millis[2] % 2 == 0).then(|| window(millis)),
            depends_on,
            gang: instances.is_multiple_of(2),
        }
    }
}

fn rollout(millis: [u64; 4], number: u32) -> Rollout {
    if number.is_multiple_of(3) {
        return Rollout::default();
    }
    let auto_return = number.is_multiple_of(2);
    let (healthy, deadline) = (Millis::new(millis[0]), Millis::new(millis[1]));
    Rollout { batch: number, healthy, deadline, failure_limit: number, auto_return }
}

fn schedule(millis: [u64; 4]) -> Schedule {
    let all = [Concurrency::Forbid, Concurrency::Replace, Concurrency::Allow];
    Schedule {
        cron: "30 2 * * mon-fri".to_owned(),
        time_zone: millis[0].is_multiple_of(2).then(|| "Asia/Shanghai".to_owned()),
        concurrency: all[usize::try_from(millis[0] % 3).unwrap()],
        starting_deadline: Millis::new(millis[3]),
        runs_kept: u32::try_from(millis[3] % 100).unwrap() + 1,
    }
}

fn window(millis: [u64; 4]) -> Window {
    let minute = |raw: u64| u16::try_from(raw % 1440).unwrap();
    Window {
        days: Days::from_bits(u8::try_from(millis[0] % 127).unwrap() + 1).unwrap(),
        from: minute(millis[1]),
        to: minute(millis[3]),
        time_zone: millis[1].is_multiple_of(2).then(|| "Europe/Berlin".to_owned()),
    }
}

fn exit() -> impl Strategy<Value = Exit> {
    prop_oneof![
        any::<i32>().prop_map(Exit::Code),
        any::<i32>().prop_map(Exit::Signal),
        Just(Exit::OutOfMemory),
        Just(Exit::NotStarted),
        Just(Exit::Unknown),
        Just(Exit::Unhealthy),
        any::<u16>().prop_map(Exit::PortTaken),
    ]
}

fn phase() -> impl Strategy<Value = Phase> {
    prop::sample::select(vec![
        Phase::Waiting,
        Phase::Starting,
        Phase::Running,
        Phase::Healthy,
        Phase::BackingOff,
        Phase::Stopping,
        Phase::Succeeded,
        Phase::Failed,
        Phase::Stopped,
        Phase::Unhealthy,
    ])
}

prop_compose! {
    fn status()(
        (instance, incarnation, since) in any::<(u64, u32, u64)>(),
        phase in phase(),
        pid in option::of(any::<u32>()),
        exit in option::of(exit()),
        message in TEXT,
    ) -> InstanceStatus {
        InstanceStatus {
            instance: InstanceId::new(instance),
            incarnation: Incarnation::new(incarnation),
            phase,
            since: At::from_millis(since),
            pid,
            exit,
            message,
        }
    }
}

fn meter() -> impl Strategy<Value = MeterRecord> {
    (any::<(u128, u64, u32)>(), any::<[u64; 5]>(), any::<bool>()).prop_map(|(key, n, last)| {
        MeterRecord {
            key: MeterKey {
                boot: BootId::new(key.0),
                instance: InstanceId::new(key.1),
                incarnation: Incarnation::new(key.2),
            },
            cpu: CoreMillis::new(n[0]),
            memory: MebibyteSeconds::new(n[1]),
            covered: Millis::new(n[2]),
            from: At::from_millis(n[3]),
            to: At::from_millis(n[4]),
            last,
        }
    })
}

fn io() -> impl Strategy<Value = NodeIo> {
    let share = || option::of((0..=1000_u32).prop_map(Permille::new));
    (share(), share(), any::<Option<u64>>()).prop_map(|(disk_busy, network_busy, network_bytes)| {
        NodeIo { disk_busy, network_busy, network_bytes }
    })
}

fn smt() -> impl Strategy<Value = Smt> {
    let sources = prop::sample::select(SmtSource::ALL.to_vec());
    (any::<u32>(), 0..=1000_u32, sources).prop_map(|(cores, gain, source)| Smt {
        cores,
        gain: Permille::new(gain),
        source,
    })
}

fn usage() -> impl Strategy<Value = NodeUsage> {
    let instances = btree_map(any::<u64>(), any::<(u64, u64, Option<u64>)>(), 0..4);
    let volumes = btree_map(copy(), any::<u64>(), 0..3);
    let all = (any::<[u64; 7]>(), option::of(any::<u32>()), instances, volumes, io());
    all.prop_map(|(n, pressure, each, volumes, io)| NodeUsage {
        at: At::from_millis(n[0]),
        interval: Millis::new(n[1]),
        cpu: Millicores::new(n[2]),
        cpu_foreign: Millicores::new(n[3]),
        memory: Mebibytes::new(n[4]),
        memory_foreign: Mebibytes::new(n[5]),
        pressure_cpu: pressure,
        harvest_allowance: Millicores::new(n[6]),
        instances: each
            .into_iter()
            .map(|(id, (cpu, memory, io_bytes))| InstanceUsage {
                instance: InstanceId::new(id),
                cpu: Millicores::new(cpu),
                memory: Mebibytes::new(memory),
                io_bytes,
            })
            .collect(),
        io,
        volumes: volumes
            .into_iter()
            .map(|(copy, used)| VolumeUsage { copy, used: Mebibytes::new(used) })
            .collect(),
    })
}

prop_compose! {
    fn report()(
        (boot, epoch, generation) in any::<(u128, u64, u64)>(),
        usage in usage(),
        statuses in vec(status(), 0..4),
        meters in vec(meter(), 0..4),
    ) -> Report {
        let instances: BTreeMap<_, _> = statuses.into_iter().map(|s| (s.instance, s)).collect();
        let meters: BTreeMap<_, _> = meters.into_iter().map(|m| (m.key, m)).collect();
        Report {
            boot: BootId::new(boot),
            epoch: Epoch::new(epoch),
            generation: Generation::new(generation),
            usage,
            instances: instances.into_values().collect(),
            meters: meters.into_values().collect(),
        }
    }
}

fn inventory() -> impl Strategy<Value = Inventory> {
    let disk = (TEXT, TEXT, any::<u64>(), any::<u64>()).prop_map(|(device, mount, total, free)| {
        Disk { device, mount, total: Mebibytes::new(total), free: Mebibytes::new(free) }
    });
    let cgroup =
        prop::sample::select(vec![CgroupVersion::None, CgroupVersion::V1, CgroupVersion::V2]);
    let texts = (TEXT, TEXT, TEXT);
    (
        any::<(u128, u128)>(),
        texts,
        any::<[u32; 4]>(),
        vec(disk, 0..3),
        cgroup,
        any::<(u64, bool, bool)>(),
        smt(),
    )
        .prop_map(|(ids, texts, n, disks, cgroup, rest, smt)| Inventory {
            machine_id: MachineId::new(ids.0),
            boot_id: BootId::new(ids.1),
            kernel: texts.0,
            architecture: texts.1,
            cpu_model: texts.2,
            sockets: n[0],
            cores: n[1],
            threads: n[2],
            numa_nodes: n[3],
            memory: Mebibytes::new(rest.0),
            disks,
            cgroup,
            psi: rest.1,
            root: rest.2,
            smt,
        })
}

fn facts() -> impl Strategy<Value = NodeFacts> {
    let levels = vec![
        EnforcementLevel::Enforced,
        EnforcementLevel::Approximate,
        EnforcementLevel::NotEnforced,
    ];
    let enforcement = btree_map(
        prop::sample::select(Control::ALL.to_vec()),
        (prop::sample::select(levels), TEXT),
        0..4,
    );
    let counted = btree_map(name(), any::<u64>(), 0..3);
    let labels = btree_map(TEXT, TEXT, 0..3);
    (NAME, labels, any::<[u64; 4]>(), counted, inventory(), enforcement).prop_map(
        |(name, labels, n, counted, inventory, enforcement)| NodeFacts {
            name: NodeName::new(name).unwrap(),
            labels,
            capacity: Capacity {
                cpu: Millicores::new(n[0]),
                memory: Mebibytes::new(n[1]),
                disk: Mebibytes::new(n[2]),
                pids: n[3],
                counted,
            },
            inventory,
            enforcement: enforcement
                .into_iter()
                .map(|(control, (level, reason))| Enforcement { control, level, reason })
                .collect(),
        },
    )
}

fn assignment() -> impl Strategy<Value = Assignment> {
    let instances = btree_map(any::<u64>(), (any::<(u32, u32)>(), spec()), 0..3);
    let removed = prop::collection::btree_set(copy(), 0..3);
    (any::<(u32, u64, u64)>(), instances, removed).prop_map(|(ids, instances, removed)| {
        let (node, epoch, generation) = ids;
        Assignment {
            node: NodeId::new(node),
            epoch: Epoch::new(epoch),
            generation: Generation::new(generation),
            band: Band::DEFAULT,
            instances: instances
                .into_iter()
                .map(|(id, ((ordinal, revision), spec))| AssignedInstance {
                    instance: InstanceId::new(id),
                    ordinal,
                    revision: Revision::new(revision),
                    spec,
                })
                .collect(),
            removed: removed.into_iter().collect(),
        }
    })
}

/// Sends a value through bytes, with a field behind it that only a newer version knows.
fn travel<W, M>(model: &M) -> Result<M, ConvertError>
where
    W: Message + Default + for<'a> From<&'a M>,
    M: TryFrom<W, Error = ConvertError>,
{
    let mut bytes = W::from(model).encode_to_vec();
    // Field 15000, a varint.
    bytes.extend([0xc0, 0xa9, 0x07, 0x07]);
    M::try_from(W::decode(bytes.as_slice()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_specification_survives_the_wire(spec in spec()) {
        prop_assert_eq!(travel::<v1::WorkloadSpec, _>(&spec).unwrap(), spec);
    }

    #[test]
    fn a_report_survives_the_wire(report in report()) {
        prop_assert_eq!(travel::<v1::Report, _>(&report).unwrap(), report);
    }

    #[test]
    fn facts_survive_the_wire(facts in facts()) {
        prop_assert_eq!(travel::<v1::NodeFacts, _>(&facts).unwrap(), facts);
    }

    #[test]
    fn an_assignment_survives_the_wire(assignment in assignment()) {
        prop_assert_eq!(travel::<v1::Assignment, _>(&assignment).unwrap(), assignment);
    }

    #[test]
    fn garbage_is_refused_and_never_panics(bytes in vec(any::<u8>(), 0..256)) {
        if let Ok(wire) = v1::WorkloadSpec::decode(bytes.as_slice()) {
            let _checked = WorkloadSpec::try_from(wire);
        }
        if let Ok(wire) = v1::Report::decode(bytes.as_slice()) {
            let _checked = Report::try_from(wire);
        }
        if let Ok(wire) = v1::NodeFacts::decode(bytes.as_slice()) {
            let _checked = NodeFacts::try_from(wire);
        }
        if let Ok(wire) = v1::Assignment::decode(bytes.as_slice()) {
            let _checked = Assignment::try_from(wire);
        }
    }

    #[test]
    fn a_damaged_message_never_panics(
        report in report(), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let mut bytes = v1::Report::from(&report).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(wire) = v1::Report::decode(bytes.as_slice()) {
            let _checked = Report::try_from(wire);
        }
    }
}

fn plain() -> v1::WorkloadSpec {
    v1::WorkloadSpec {
        key: Some(v1::WorkloadKey {
            department: "city/finance".into(),
            application: "ledger".into(),
            name: "api".into(),
        }),
        kind: 1,
        class: 2,
        command: vec!["/bin/true".into()],
        resources: Some(v1::Resources::default()),
        constraints: Some(v1::Constraints::default()),
        instances: 1,
        restart: Some(v1::Restart { mode: 1, ..v1::Restart::default() }),
        stop: Some(v1::Stop { signal: 15, grace_millis: 0 }),
        move_policy: 3,
        ..v1::WorkloadSpec::default()
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut v1::WorkloadSpec), expected: &str) {
    let mut wire = plain();
    change(&mut wire);
    let error = WorkloadSpec::try_from(wire).expect_err("the change is refused");
    assert_eq!(error.within("spec").to_string(), expected);
}

#[test]
fn an_error_names_the_field() {
    assert!(WorkloadSpec::try_from(plain()).is_ok());
    let port = |number| v1::PortSpec { name: "web".into(), number };
    refused(
        |s| s.ports = vec![port(80), port(81), port(70_000)],
        "spec.ports[2].number: 70000 is not a port",
    );
    let check = |probe| v1::HealthCheck { probe: Some(probe), ..v1::HealthCheck::default() };
    let http = |path: &str| {
        let http = v1::HttpProbe { port: "web".into(), path: path.into() };
        Some(check(v1::health_check::Probe::Http(http)))
    };
    for bad in ["", "healthy", "/a b", "/a\r\nHost: x"] {
        refused(
            |s| s.health = http(bad),
            "spec.health.probe.http.path: must begin with a slash and be printable, without spaces",
        );
    }
    let volume = v1::VolumeSpec { name: "data".into(), path: "../data".into(), size_mib: 1 };
    refused(
        |s| s.volumes = vec![volume],
        "spec.volumes[0].path: \"../data\" is not a plain relative path",
    );
    refused(|s| s.key = None, "spec.key: is missing");
    refused(|s| s.kind = 0, "spec.kind: is missing");
    refused(|s| s.kind = 99, "spec.kind: 99 is not known here");
    refused(|s| s.restart = Some(v1::Restart::default()), "spec.restart.mode: is missing");
    refused(|s| s.stop = Some(v1::Stop::default()), "spec.stop.signal: 0 is not a signal");
    refused(|s| s.instances = 10_001, "spec.instances: 10001 is above 10000");
    refused(|s| s.command = vec!["a\0b".into()], "spec.command[0]: holds a zero byte");
}

#[test]
fn hostile_values_are_refused() {
    let file = |path: &str, mode| v1::FileSpec { path: path.into(), content: vec![], mode };
    for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", "a/", "a\0"] {
        let mut wire = plain();
        wire.files = vec![file(path, 0o644)];
        assert!(WorkloadSpec::try_from(wire).is_err(), "{path:?} passed");
    }
    refused(|s| s.files = vec![file("a", 0o4755)], "spec.files[0].mode: 0o4755 is above 0o777");
    refused(
        |s| s.env = [("A=B".to_owned(), String::new())].into(),
        "spec.env: \"A=B\" is not a variable's name",
    );
    refused(
        |s| s.env = [("A".to_owned(), "\0".into())].into(),
        "spec.env: \"A\" holds a zero byte",
    );
    refused(
        |s| s.key.as_mut().unwrap().name = "\u{1b}[31mred".into(),
        "spec.key.name: \"\\u{1b}[31mred\": a name has only lower-case letters a-z, digits and \
         dashes",
    );
}

#[test]
fn sizes_are_bounded() {
    refused(
        |s| s.command = vec![String::new(); 257],
        "spec.command: has 257 items, at most 256 are allowed",
    );
    let mut wire = plain();
    wire.command = vec!["x".repeat(600 * 1024)];
    assert!(WorkloadSpec::try_from(wire).is_err());
    let mut wire = plain();
    wire.user = Some("x".repeat(5000));
    assert!(WorkloadSpec::try_from(wire).is_err());
}

#[test]
fn an_instance_that_comes_twice_is_refused_and_order_does_not_matter() {
    let usage = |ids: &[u64]| v1::NodeUsage {
        instances: ids
            .iter()
            .map(|id| v1::InstanceUsage { instance: *id, ..v1::InstanceUsage::default() })
            .collect(),
        ..v1::NodeUsage::default()
    };
    let sorted = NodeUsage::try_from(usage(&[1, 2, 3])).unwrap();
    assert_eq!(NodeUsage::try_from(usage(&[3, 1, 2])).unwrap(), sorted);
    let error = NodeUsage::try_from(usage(&[3, 1, 3])).unwrap_err();
    assert_eq!(error.path(), "instances");
}

#[test]
fn a_band_out_of_order_and_an_exit_without_a_way_are_refused() {
    let band = v1::Band { floor_permille: 800, target_permille: 700, ceiling_permille: 900 };
    assert!(Band::try_from(band).is_err());
    assert!(Exit::try_from(v1::Exit { how: None }).is_err());
}

#[test]
fn an_operation_id_is_hexadecimal() {
    assert!(operation_id("operation_id", "0f1e2d3c4b5a69788796a5b4c3d2e1f0").is_ok());
    let error = operation_id("operation_id", "x").unwrap_err();
    assert_eq!(error.to_string(), "operation_id: \"x\" is not 32 hexadecimal digits");
}

#[test]
fn no_share_is_more_than_the_whole_and_what_is_not_measured_is_not_said() {
    let busy = v1::NodeUsage { disk_busy_permille: Some(1001), ..v1::NodeUsage::default() };
    let error = NodeUsage::try_from(busy).unwrap_err();
    assert_eq!(error.to_string(), "disk_busy_permille: is 1001, at most 1000 is allowed");
    let busy = v1::NodeUsage { network_busy_permille: Some(u32::MAX), ..v1::NodeUsage::default() };
    assert!(NodeUsage::try_from(busy).is_err());
    assert_eq!(NodeUsage::try_from(v1::NodeUsage::default()).unwrap().io, NodeIo::default());
    let smt = Some(v1::Smt { gain_permille: 1001, ..v1::Smt::default() });
    let id = "0".repeat(32);
    let wire = v1::Inventory {
        machine_id: id.clone(),
        boot_id: id,
        cgroup: v1::CgroupVersion::None.into(),
        ..v1::Inventory::default()
    };
    let found = Inventory::try_from(wire.clone()).unwrap();
    assert_eq!(v1::Inventory::from(&found), wire, "an older agent's words stay as they were");
    let error = Inventory::try_from(v1::Inventory { smt, ..wire }).unwrap_err();
    assert_eq!(error.to_string(), "smt.gain_permille: is 1001, at most 1000 is allowed");
}
