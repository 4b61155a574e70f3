//! Seasons on recorded fleets: what is foreseen one window ahead with them and without. Where machines
//! work by the clock they win, and nowhere do they lose.

mod shared;

use std::collections::BTreeMap;

use tengyun_engine::predict;
use tengyun_lab::cloud::{Cloud, Guest, Place};
use tengyun_lab::trace::{DAY_STEPS, STEP_SECS, Trace};
use tengyun_model::{InstanceId, NodeId};

/// Returns the mean square error of all forecasts of every `each`th instance from the second day on, in
/// square cores, as the engine makes them with these knobs.
fn error(trace: &Trace, each: usize, season: u64) -> f64 {
    let knobs = BTreeMap::from([("season".to_owned(), season), ("consolidate".to_owned(), 0)]);
    let node = Place { cpu: 1_000_000_000, memory: 1_000_000_000, ..Place::default() };
    let mut cloud = Cloud::new(&knobs, [node]).expect("a cloud");
    let chosen: Vec<usize> = (0..trace.instances.len()).step_by(each).collect();
    let rows: Vec<Vec<u64>> = chosen
        .iter()
        .map(|at| {
            let request = trace.instances[*at].cpu_request.get();
            cloud.apply(&Guest { cpu: request, ..Guest::default() }).expect("a workload");
            trace.cpu.held(*at).map(|used| u64::from(used).min(request)).collect()
        })
        .collect();
    cloud.settle().expect("a plan");
    let instances: Vec<InstanceId> = cloud.state().instances().map(|i| i.status.instance).collect();
    let (mut sum, mut count) = (0.0, 0.0);
    let mut second = 0;
    for step in 0..trace.steps() {
        if step >= DAY_STEPS {
            let now = cloud.state().usage(NodeId::new(1)).expect("it reported").at;
            let forecast = predict::forecast(cloud.state(), now);
            for (row, id) in rows.iter().zip(&instances) {
                let wrong = row[step].abs_diff(forecast.instance(*id).mean.get());
                let wrong = f64::from(u32::try_from(wrong).expect("a few cores")) / 1000.0;
                sum += wrong * wrong;
                count += 1.0;
            }
        }
        second += STEP_SECS;
        cloud.report(second, |at| (rows[at][step], 1)).expect("a report");
    }
    sum / count
}

#[test]
fn machines_that_work_by_the_clock_are_foreseen_better_by_a_season() {
    let Some(trace) = shared::trace("azure-v1-periodic78") else { return };
    let (with, without) = (error(&trace, 1, 1), error(&trace, 1, 0));
    println!("periodic: {with:.6} with a season, {without:.6} without");
    assert!(with < 0.93 * without, "{with} with a season, {without} without");
}

#[test]
fn a_hosting_company_is_foreseen_no_worse_by_a_season() {
    let Some(trace) = shared::trace("bitbrains-rnd-2013-7") else { return };
    let (with, without) = (error(&trace, 10, 1), error(&trace, 10, 0));
    println!("bitbrains: {with:.6} with a season, {without:.6} without");
    assert!(with <= without, "{with} with a season, {without} without");
}
