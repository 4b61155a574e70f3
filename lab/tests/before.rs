//! Before you move: the bound and what binds, the refusal of thin history, and that it adds up.

mod shared;

use tengyun_lab::before_you_move::{BeforeError, Wish, html, plan};
use tengyun_lab::energy::PowerCurve;
use tengyun_lab::fleet::Shape;
use tengyun_lab::generate::Statistics;
use tengyun_lab::trace::{Series, Trace};

fn history() -> Trace {
    Statistics { instances: 60, days: 2, missing: 0.05, ..Statistics::OFFICES }.trace(9)
}

/// The same history with every second instance's samples gone.
fn halved(trace: &Trace) -> Trace {
    let mut thin = trace.clone();
    thin.cpu = Series::empty(trace.instances.len(), trace.steps());
    for row in (0..trace.instances.len()).step_by(2) {
        for step in 0..trace.steps() {
            if let Some(value) = trace.cpu.get(row, step) {
                thin.cpu.set(row, step, u64::from(value));
            }
        }
    }
    thin
}

fn wish(shape: &str) -> Wish {
    Wish::new(Shape::parse(shape).expect("a shape"))
}

#[test]
fn every_workload_goes_to_one_server_and_the_departments_add_up() {
    let trace = history();
    let made =
        plan(&trace, &Wish { price_kwh: 0.1, price_server: 1000.0, ..wish("16/32") }).unwrap();
    let mut moved: Vec<&str> = made.moves.iter().map(|m| m.workload.as_str()).collect();
    moved.sort_unstable();
    moved.dedup();
    assert_eq!(moved.len() + made.stays.len(), trace.instances.len());
    let on_servers: u64 = made.servers.iter().map(|s| s.workloads).sum();
    assert_eq!(on_servers, u64::try_from(made.moves.len()).unwrap());
    assert!(made.servers.iter().all(|s| s.cpu_at_risk_pct <= 80.0 + 1e-9 && s.memory_pct <= 100.0));
    let money: f64 = made.departments.iter().map(|d| d.money_per_year).sum();
    assert!(
        (money - made.money_per_year_then).abs() < 1.0,
        "{money} of {}",
        made.money_per_year_then
    );
    assert!(made.servers_needed >= made.bounds.memory_used.unwrap());
    assert!(made.kwh_per_year_then < made.kwh_per_year_now);
    assert_eq!(
        made,
        plan(&trace, &Wish { price_kwh: 0.1, price_server: 1000.0, ..wish("16/32") }).unwrap()
    );
}

#[test]
fn little_memory_binds_and_much_does_not() {
    assert_eq!(plan(&history(), &wish("16/8")).unwrap().binding, "memory");
    assert_eq!(
        plan(&history(), &wish("2/512"))
            .unwrap_or_else(|_| plan(&history(), &wish("3/512")).unwrap())
            .binding,
        "cpu"
    );
}

#[test]
fn a_lower_ceiling_needs_more_servers_and_hungrier_ones_more_energy() {
    let made = |ceiling_pct, curve| {
        plan(&history(), &Wish { ceiling_pct, curve, ..wish("4/512") }).expect("a plan")
    };
    let (low, usual) = (made(30.0, PowerCurve::G5), made(80.0, PowerCurve::G5));
    assert!(low.servers_needed > usual.servers_needed, "{}", low.servers_needed);
    assert!(low.servers.iter().all(|s| s.cpu_at_risk_pct <= 30.0 + 1e-9));
    assert!(html("h", &low).contains("1 % / 30 %"));
    let hungry =
        made(80.0, PowerCurve::parse("200,200,200,200,200,200,200,200,200,200,200").unwrap());
    let kwh = |servers: u64| 200.0 * 8.76 * f64::from(u32::try_from(servers).unwrap());
    assert!((hungry.kwh_per_year_then - kwh(hungry.servers_needed)).abs() < 1.0);
    assert!((hungry.kwh_per_year_now - kwh(hungry.servers_now)).abs() < 1.0);
    assert!(hungry.kwh_per_year_then > usual.kwh_per_year_then);
}

#[test]
fn half_a_history_is_refused_with_its_coverage() {
    let error = plan(&halved(&history()), &wish("16/64")).unwrap_err();
    assert!(matches!(error, BeforeError::Thin { .. }));
    assert!(error.to_string().contains("covers 47."), "{error}");
}

#[test]
fn the_page_names_every_department_and_takes_no_markup() {
    let mut trace = history();
    trace.instances[0].name = "<b>bold</b>".to_owned();
    let page = html("history", &plan(&trace, &wish("16/64")).unwrap());
    assert!(page.contains("department-3") && page.contains("&lt;b&gt;bold&lt;/b&gt;"));
    assert!(!page.contains("<b>bold"));
}

#[test]
fn a_month_of_bitbrains_is_bound_by_memory() {
    let Some(trace) = shared::trace("bitbrains-rnd-2013-7") else { return };
    let made = plan(&trace, &wish("32/128")).unwrap();
    // The bounds of the reference: 31 by request, 20 by each one's own peak.
    assert_eq!((made.bounds.memory_requested, made.bounds.memory_used), (31, Some(20)));
    assert_eq!(made.binding, "memory");
    assert!((20..=26).contains(&made.servers_needed), "{} servers", made.servers_needed);
    assert!(matches!(plan(&halved(&trace), &wish("32/128")), Err(BeforeError::Thin { .. })));
}
