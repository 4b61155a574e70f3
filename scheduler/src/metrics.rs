//! Metrics of the scheduler: counted where things happen, and told together with what the state is.
//!
//! Names and labels are bounded: nothing here grows with nodes, workloads or departments.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tengyun_daemon::metrics::{CONTENT_TYPE, Exposition, Histogram, Kind, PATH, Value, process};
use tengyun_engine::event::Event;
use tengyun_engine::predict::Spent;
use tengyun_model::{Band, Millicores, Millis, NodeUsage, Permille};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, header};
use tonic::codegen::{BoxFuture, Context, Poll, Service};

use crate::authority::Authority;
use crate::clock::Clock;
use crate::connections::Connections;
use crate::desk::Desk;
use crate::route::Calls;
use crate::view::Figures;

/// Where in the band a measured node was.
const ZONES: [&str; 3] = ["below-floor", "in-band", "above-ceiling"];

/// Of what the sketches were that agents sent.
const SKETCHES: [&str; 2] = ["instance", "stranger"];

/// What is counted while the scheduler works.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// How long appending to the journal took, with its fsync.
    pub append: Histogram,
    /// How long forecast, plan and check took.
    pub plan: Histogram,
    reports: AtomicU64,
    sketches: [AtomicU64; SKETCHES.len()],
    band_millis: [AtomicU64; ZONES.len()],
    events: Mutex<BTreeMap<&'static str, u64>>,
}

impl Metrics {
    /// Counts what happened, by its kind.
    pub(crate) fn count_events(&self, events: &[Event]) {
        if events.is_empty() {
            return;
        }
        let mut counts = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            let count = counts.entry(event.kind.as_str()).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Counts a report.
    pub(crate) fn count_report(&self) {
        self.reports.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what agents remembered of instances of their nodes, and of others.
    pub(crate) fn count_sketches(&self, known: usize, strangers: usize) {
        for (count, more) in self.sketches.iter().zip([known, strangers]) {
            count.fetch_add(u64::try_from(more).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    /// Adds the time that a report is about to where its node was in the band.
    pub(crate) fn count_time(&self, usage: &NodeUsage, capacity: Millicores, band: Band) {
        let share: Permille = usage.cpu.share_of(capacity);
        let zone = usize::from(share >= band.floor) + usize::from(share > band.ceiling);
        self.band_millis[zone].fetch_add(usage.interval.get(), Ordering::Relaxed);
    }
}

/// What answers those who ask for metrics.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    pub desk: Desk,
    pub metrics: Arc<Metrics>,
    pub connections: Arc<Connections>,
    pub authority: Option<Arc<Authority>>,
}

impl Scrape {
    /// Returns the text; nothing when the scheduler is stopping.
    pub(crate) async fn text(&self) -> Option<String> {
        let figures = self.desk.read(|view| view.figures()).await.ok()?;
        let mut text = Exposition::default();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        text.family(Kind::Info, "tengyun_scheduler", "", "The scheduler's version.")
            .sample(&version, true);
        self.journal(&mut text, &figures);
        nodes(&mut text, &figures);
        instances(&mut text, &figures);
        self.band(&mut text, &figures);
        self.members(&mut text);
        process(&mut text);
        Some(text.finish())
    }

    fn journal(&self, text: &mut Exposition, figures: &Figures) {
        let gauge = Kind::Gauge;
        let help = "The reign of the scheduler; each start begins one.";
        text.one(gauge, ("tengyun_epoch", ""), help, figures.epoch);
        let help = "Entries in the journal.";
        text.one(Kind::Counter, ("tengyun_journal_entries", ""), help, figures.sequence);
        let help = "Time to append a group of entries to the journal, with its fsync.";
        text.histogram("tengyun_journal_append_seconds", help, &self.metrics.append);
        let help = "Time to forecast, plan and check once.";
        text.histogram("tengyun_plan_seconds", help, &self.metrics.plan);
        let help = "Requests that wait for the writer.";
        text.one(gauge, ("tengyun_writer_queue_requests", "requests"), help, self.desk.waiting());
        let help = "Requests that may wait for the writer.";
        let name = ("tengyun_writer_queue_limit_requests", "requests");
        text.one(gauge, name, help, crate::desk::QUEUE_MAX);
        let help = "Whether the scheduler only reads.";
        text.one(gauge, ("tengyun_read_only", ""), help, figures.read_only);
        let help = "Whether the scheduler only observes after a restore.";
        text.one(gauge, ("tengyun_observing", ""), help, figures.observing);
        let help = "Instances that run and that a restored journal does not know.";
        text.one(gauge, ("tengyun_strangers", ""), help, figures.strangers);
        let counts = self.metrics.events.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Events since the scheduler started, by kind.";
        let mut events = text.family(Kind::Counter, "tengyun_events", "", help);
        for (kind, count) in counts.iter() {
            events.sample(&[("kind", kind)], *count);
        }
    }

    fn band(&self, text: &mut Exposition, figures: &Figures) {
        let help = "The wanted CPU utilisation of a node in use.";
        let mut band = text.family(Kind::Gauge, "tengyun_band_ratio", "ratio", help);
        let Band { floor, target, ceiling } = figures.band;
        for (line, share) in [("floor", floor), ("target", target), ("ceiling", ceiling)] {
            band.sample(&[("line", line)], Value::Thousandths(u64::from(share.get())));
        }
        let help = "Measured time of nodes by where their utilisation was, since the start.";
        let mut time = text.family(Kind::Counter, "tengyun_node_time_seconds", "seconds", help);
        for (zone, millis) in ZONES.iter().zip(&self.metrics.band_millis) {
            let millis = Value::Thousandths(millis.load(Ordering::Relaxed));
            time.sample(&[("zone", zone)], millis);
        }
        budget(text, figures);
        let reports = self.metrics.reports.load(Ordering::Relaxed);
        let help = "Reports of agents since the scheduler started.";
        text.one(Kind::Counter, ("tengyun_reports", ""), help, reports);
        let help = "Uses that agents remembered and told, by whether they are of their instances.";
        let mut sketches = text.family(Kind::Counter, "tengyun_sketches", "", help);
        for (of, count) in SKETCHES.iter().zip(&self.metrics.sketches) {
            sketches.sample(&[("of", of)], count.load(Ordering::Relaxed));
        }
    }

    fn members(&self, text: &mut Exposition) {
        let now = Clock::start(tengyun_model::At::default()).now();
        let help =
            "Handshakes with other machines since the scheduler started, by what came of them.";
        let mut handshakes = text.family(Kind::Counter, "tengyun_handshakes", "", help);
        for (result, count) in self.connections.greetings() {
            handshakes.sample(&[("result", result)], count);
        }
        let help = "Attempts to speak as a node while its agent did; each was refused.";
        text.one(Kind::Counter, ("tengyun_doubles", ""), help, self.connections.doubles());
        let (open, soonest) = self.connections.standing();
        let help = "Open connections of members on other machines.";
        text.one(Kind::Gauge, ("tengyun_member_connections", ""), help, open);
        let help = "Time until a certificate ends; the soonest of the connected members.";
        let mut left =
            text.family(Kind::Gauge, "tengyun_certificate_expiry_seconds", "seconds", help);
        let until = [
            ("authority", self.authority.as_ref().and_then(|a| a.until())),
            ("scheduler", self.authority.as_ref().and_then(|a| a.server_until())),
            ("member", soonest),
        ];
        for (of, until) in until {
            if let Some(until) = until {
                left.sample(&[("of", of)], Value::Thousandths(until.since(now).get()));
            }
        }
    }
}

fn budget(text: &mut Exposition, figures: &Figures) {
    let help = "The share of the time of nodes in use that may be above the ceiling.";
    let name = ("tengyun_violation_budget_ratio", "ratio");
    text.one(Kind::Gauge, name, help, Value::Millionths(figures.budget));
    let sum = |of: fn(&Spent) -> u64| figures.spent.iter().map(of).fold(0, u64::saturating_add);
    let (windows, above) = (sum(|s| s.windows), sum(|s| s.misses));
    let help = "Measured windows of nodes in use since the start, by where they were.";
    let mut counts = text.family(Kind::Counter, "tengyun_node_windows", "", help);
    counts.sample(&[("zone", "below-ceiling")], windows.saturating_sub(above));
    counts.sample(&[("zone", "above-ceiling")], above);
    let (foreseen, missed) = (sum(|s| s.foreseen), sum(|s| s.missed));
    let help = "Windows of nodes that were foreseen since the start, by whether the peak held.";
    let mut counts = text.family(Kind::Counter, "tengyun_forecast_windows", "", help);
    counts.sample(&[("peak", "held")], foreseen.saturating_sub(missed));
    counts.sample(&[("peak", "missed")], missed);
    hours(text, figures);
}

fn hours(text: &mut Exposition, figures: &Figures) {
    let all = figures.violations;
    let help = "Measured windows of critical and standard instances since the start, by where their node was.";
    let mut counts = text.family(Kind::Counter, "tengyun_instance_windows", "", help);
    counts.sample(&[("zone", "below-ceiling")], all.instances.saturating_sub(all.affected));
    counts.sample(&[("zone", "above-ceiling")], all.affected);
    // While no hour of the week has a violation, it is Monday's first with none.
    let (hour, worst) = figures.worst.unwrap_or_default();
    let help =
        "The share of node-windows above the ceiling in the worst hour of the week, of four weeks.";
    let name = ("tengyun_worst_hour_ratio", "ratio");
    text.one(Kind::Gauge, name, help, Value::Millionths(worst.share()));
    let help = "The hour of the week that is worst, from Monday 00:00 UTC on, 0 to 167.";
    text.one(Kind::Gauge, ("tengyun_worst_hour", ""), help, hour);
}

fn nodes(text: &mut Exposition, figures: &Figures) {
    let mut states = text.family(Kind::Gauge, "tengyun_nodes", "", "Nodes by how they are.");
    for (state, count) in &figures.nodes {
        states.sample(&[("state", state)], *count);
    }
    let help = "Nodes by what operators wish of them.";
    let mut wishes = text.family(Kind::Gauge, "tengyun_nodes_wished", "", help);
    for (wish, count) in &figures.wishes {
        wishes.sample(&[("wish", wish)], *count);
    }
    let help = "Nodes that get nothing new because their disks or links are too busy.";
    let mut occupied = text.family(Kind::Gauge, "tengyun_nodes_occupied", "", help);
    for (what, count) in &figures.occupied {
        occupied.sample(&[("by", what)], *count);
    }
    let help = "Nodes that run or are to run something.";
    text.one(Kind::Gauge, ("tengyun_nodes_in_use", ""), help, figures.in_use);
    let help = "CPU of the connected nodes: what they have, what is used, and by others than us.";
    let mut cpu = text.family(Kind::Gauge, "tengyun_cpu_cores", "cores", help);
    for (of, amount) in figures.cpu {
        cpu.sample(&[("of", of)], Value::Thousandths(amount.get()));
    }
    let help = "Memory of the connected nodes: what they have, and what is used.";
    let mut memory = text.family(Kind::Gauge, "tengyun_memory_bytes", "bytes", help);
    for (of, amount) in figures.memory {
        memory.sample(&[("of", of)], amount.get().saturating_mul(1024 * 1024));
    }
    let seconds = |millis: Millis| Value::Thousandths(millis.get());
    let help = "Age of the oldest last report among the connected nodes.";
    let name = ("tengyun_report_age_seconds", "seconds");
    text.one(Kind::Gauge, name, help, seconds(figures.report_age));
    let help = "Time since the meters of a node with instances were journaled, the longest of all.";
    text.one(
        Kind::Gauge,
        ("tengyun_meter_lag_seconds", "seconds"),
        help,
        seconds(figures.meter_lag),
    );
    let help = "Nodes that fell silent and are not declared lost because too many did.";
    text.one(Kind::Gauge, ("tengyun_losses_held", ""), help, figures.losses_held);
}

fn instances(text: &mut Exposition, figures: &Figures) {
    let help = "Instances by class and phase.";
    let mut phases = text.family(Kind::Gauge, "tengyun_instances", "", help);
    for ((class, phase), count) in &figures.instances {
        phases.sample(&[("class", class), ("phase", phase)], *count);
    }
    let help = "How long the instance has waited for a node that waits longest.";
    let name = ("tengyun_instance_wait_seconds", "seconds");
    text.one(Kind::Gauge, name, help, Value::Thousandths(figures.longest_wait.get()));
    let help = "Workloads by what their departments wish.";
    let mut wishes = text.family(Kind::Gauge, "tengyun_workloads", "", help);
    for (wish, count) in &figures.workloads {
        wishes.sample(&[("wish", wish)], *count);
    }
    let help = "Workloads held because nodes were lost under them.";
    text.one(Kind::Gauge, ("tengyun_workloads_held", ""), help, figures.held);
    let help = "Instances ever moved.";
    text.one(Kind::Counter, ("tengyun_moves", ""), help, figures.moves);
    let help = "Moves for the sake of order that may be made now.";
    text.one(Kind::Gauge, ("tengyun_moves_left", ""), help, figures.ledger.left);
}

/// The service of metrics in the chain of services.
#[derive(Clone, Debug)]
pub(crate) struct MetricsRoute<N> {
    scrape: Scrape,
    next: N,
}

impl<N> MetricsRoute<N> {
    /// Puts the service before others.
    pub(crate) fn new(scrape: Scrape, next: N) -> Self {
        Self { scrape, next }
    }
}

impl<N: Calls> Service<Request<Body>> for MetricsRoute<N> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != PATH {
            return self.next.call(request);
        }
        let scrape = self.scrape.clone();
        Box::pin(async move {
            let Some(text) = scrape.text().await else {
                return Ok(Status::unavailable("the scheduler is stopping").into_http());
            };
            let mut response = Response::new(Body::new(text));
            let plain = header::HeaderValue::from_static(CONTENT_TYPE);
            response.headers_mut().insert(header::CONTENT_TYPE, plain);
            Ok(response)
        })
    }
}
