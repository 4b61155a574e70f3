//! The writer: the one thread that owns the state. It takes what waits at the desk, commits it as one
//! batch, answers, plans, and hands new assignments to dispatch.
//!
//! It is a thread and not a task because a commit waits for the disk.

mod operate;
mod recall;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tengyun_engine::explain::Decision;
use tengyun_engine::{Command, Effect, Outcome, Refusal, State, liveness, rollout};
use tengyun_model::{
    InstanceId, Member, MeterKey, Millis, NodeFacts, NodeId, Report, Wisher, said,
};
use tengyun_proto::refused::status;
use tengyun_proto::v1;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use tracing::{debug, error, info, warn};

use crate::calendar::{self, Calendar};
use crate::commit::Log;
use crate::desk::{AttachRefusal, Attached, PolicyChange, Request, Speaker};
use crate::directory::Directory;
use crate::dispatch::{Link, LinkId, Links, LogSink};
use crate::ingest::Ingest;
use crate::journal::JournalError;
use crate::planning::Planning;
use crate::roster::Publisher;
use crate::view::View;

/// The most requests of one commit: enough to share an fsync well, few enough that the first one
/// does not wait long for the last.
const BATCH_MAX: usize = 256;
/// How long a plan waits after a change, so that changes that come together are planned together.
const PLAN_DELAY: Duration = Duration::from_millis(3);
/// How often to plan, and to look for silent agents, when nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// Who waits for the outcome of a command.
enum Waiter {
    Nobody,
    /// With what is recorded of it once it is done, if anything is.
    Wish(Option<Box<Decision>>, oneshot::Sender<Outcome>),
    Attach(Box<NodeFacts>, Link, oneshot::Sender<Result<Attached, AttachRefusal>>),
    Meters(NodeId, Vec<MeterKey>),
}

/// The owner of the state.
#[derive(Debug)]
pub(crate) struct Writer {
    log: Log,
    queue: mpsc::Receiver<Request>,
    links: Links,
    ingest: Ingest,
    planning: Planning,
    calendar: Calendar,
    roster: Publisher,
    directory: Directory,
    read_only: Option<Arc<str>>,
    pending: Pending,
    plan_due: Option<Instant>,
    tick_due: Instant,
    stopped: bool,
}

/// Commands that become one commit.
#[derive(Default)]
struct Pending(Vec<(Command, Option<Wisher>, Waiter)>);

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({})", self.0.len())
    }
}

impl Writer {
    /// Makes a writer that takes from `queue`.
    pub(crate) fn new(
        log: Log,
        queue: mpsc::Receiver<Request>,
        report_interval: Millis,
        read_only: Option<Arc<str>>,
        (roster, calendar): (Publisher, Calendar),
    ) -> Self {
        Self {
            log,
            queue,
            links: Links::new(report_interval),
            ingest: Ingest::default(),
            planning: Planning::default(),
            calendar,
            roster,
            directory: Directory::default(),
            read_only,
            pending: Pending::default(),
            plan_due: None,
            tick_due: Instant::now(),
            stopped: false,
        }
    }

    /// Works until it is told to stop, then keeps a snapshot.
    ///
    /// # Errors
    /// The journal cannot be written: nothing that was not answered was acted on, and this process
    /// must not write again.
    pub(crate) fn run(mut self, runtime: &Handle) -> Result<(), JournalError> {
        while !self.stopped {
            let due = self.plan_due.map_or(self.tick_due, |plan| plan.min(self.tick_due));
            let due = self.directory.due().map_or(due, |directory| directory.min(due));
            match runtime.block_on(async { timeout_at(due, self.queue.recv()).await }) {
                Ok(Some(request)) => self.batch(request)?,
                Ok(None) => break,
                Err(_) => {}
            }
            self.tick()?;
            self.plan()?;
            // Before what moved stops: whoever asks where it is, is told of the new place first.
            let now = self.log.now();
            self.directory.refresh(self.log.state(), &mut self.links, now);
            self.links.refresh(self.log.state());
            self.roster.refresh(self.log.state());
        }
        self.log.snapshot()
    }

    fn batch(&mut self, first: Request) -> Result<(), JournalError> {
        self.take(first)?;
        for _ in 1..BATCH_MAX {
            match self.queue.try_recv() {
                Ok(request) => self.take(request)?,
                Err(_) => break,
            }
        }
        self.flush()
    }

    fn take(&mut self, request: Request) -> Result<(), JournalError> {
        match request {
            Request::Wish { command, dry_run, by, answer } => {
                self.wish((*command, by), dry_run, (None, answer));
            }
            Request::SetPolicy { operation, change, by, answer } => {
                // What is set already must be known before it can stay or return.
                self.flush()?;
                match policy_after(self.log.state(), change) {
                    Err(refusal) => deliver(answer, Outcome::Refused(refusal)),
                    Ok((values, label)) => {
                        let command = Command::SetPolicy { operation, values, label };
                        self.wish((command, by), false, (None, answer));
                    }
                }
            }
            Request::Attach { speaker, facts, link, answer } => {
                if self.may_speak(speaker, &facts) {
                    self.attach(facts, link, answer);
                } else {
                    let refusal = Refusal::NotThisNode(facts.name.clone());
                    deliver(answer, Err(AttachRefusal::Refused(refusal)));
                }
            }
            Request::Detach { node, link } => {
                if self.links.detach(node, link) {
                    self.log.note(Command::DisconnectNode(node));
                    self.plan_soon();
                }
            }
            Request::Report { node, link, report } => self.report(node, link, &report),
            Request::History { node, link, history } => self.recall(node, link, *history),
            Request::Log { instance, request, sink, answer } => {
                let asked = self.ask_log(instance, request, sink);
                deliver(answer, asked);
            }
            Request::Move { command, instance, to, by, answer } => {
                let moved = self.move_instance((*command, by), instance, to);
                deliver(answer, moved);
            }
            Request::AcknowledgeLoss { operation, nodes, proof, by, answer } => {
                let acknowledged = self.acknowledge_loss((operation, by), nodes, proof)?;
                deliver(answer, acknowledged);
            }
            Request::Events { filter, answer } => {
                deliver(answer, self.log.events().list(&filter));
            }
            Request::Read(look) => {
                let now = self.log.now();
                let (state, read_only) = (self.log.state(), self.read_only.as_deref());
                look(View::new(state, (&self.links, self.planning.decisions()), now, read_only));
            }
            Request::Stop => self.stopped = true,
        }
        Ok(())
    }

    fn wish(
        &mut self,
        (command, by): (Command, Option<Wisher>),
        dry_run: bool,
        (decided, answer): (Option<Box<Decision>>, oneshot::Sender<Outcome>),
    ) {
        let known = match &command {
            Command::ApplyWorkload { spec, .. } => calendar::check(spec),
            // Who is there is not durable, so it is asked here.
            Command::ForgetNode { node, .. } if self.log.state().connected(*node) => {
                Err(Refusal::NodeThere(*node))
            }
            _ => Ok(()),
        };
        match known.and_then(|()| self.log.state().validate(&command)) {
            Err(refusal) => deliver(answer, Outcome::Refused(refusal)),
            Ok(()) if dry_run => {
                deliver(answer, Outcome::Applied(foreseen(self.log.state(), &command)));
            }
            Ok(()) => self.pending.0.push((command, by, Waiter::Wish(decided, answer))),
        }
    }

    /// Says whether an agent may speak for the node that it names.
    fn may_speak(&self, speaker: Speaker, facts: &NodeFacts) -> bool {
        let Speaker::Node(node, admission) = speaker else { return true };
        let known = self.log.state().member(&Member::Node(facts.name.clone()));
        known.is_some_and(|known| {
            (known.node, known.admission, known.revoked) == (Some(node), admission, None)
        })
    }

    fn attach(
        &mut self,
        facts: Box<NodeFacts>,
        link: Link,
        answer: oneshot::Sender<Result<Attached, AttachRefusal>>,
    ) {
        let known = self.log.state().node_named(&facts.name);
        let known = known.map(|node| (node.id, crate::ingest::facts_differ(&node.facts, &facts)));
        if known.is_some_and(|(node, _)| self.links.is_attached_by_another(node, &link))
            || self.is_joining(&facts)
        {
            deliver(answer, Err(AttachRefusal::Busy(facts, link)));
            return;
        }
        if let Some((node, false)) = known {
            self.connect(node, link, answer);
            return;
        }
        let command = Command::RegisterNode((*facts).clone());
        match self.log.state().validate(&command) {
            Err(refusal) => deliver(answer, Err(AttachRefusal::Refused(refusal))),
            Ok(()) => self.pending.0.push((command, None, Waiter::Attach(facts, link, answer))),
        }
    }

    /// Returns true when a stream of the same name waits for this very commit.
    fn is_joining(&self, facts: &NodeFacts) -> bool {
        let joins = |waiter: &Waiter| matches!(waiter, Waiter::Attach(other, _, _) if other.name == facts.name);
        self.pending.0.iter().any(|(_, _, waiter)| joins(waiter))
    }

    fn connect(
        &mut self,
        node: NodeId,
        link: Link,
        answer: oneshot::Sender<Result<Attached, AttachRefusal>>,
    ) {
        let now = self.log.now();
        if answer.send(Ok(self.attached(node))).is_err() {
            return;
        }
        self.links.attach(node, link, now);
        self.log.note(Command::ConnectNode(node));
        self.plan_soon();
    }

    fn report(&mut self, node: NodeId, link: LinkId, report: &Report) {
        if !self.links.is_present(node, link) {
            debug!(%node, "report of a displaced stream passed over");
            return;
        }
        let now = self.log.now();
        self.count(node, report);
        let intake = self.ingest.report(self.log.state(), node, report, now);
        self.links.report(node, report.generation, now);
        self.links.reported_mut().take(self.log.state(), node, &report.instances);
        self.log.note(intake.usage);
        self.links.acknowledge(node, &intake.kept);
        let keys = report.meters.iter().map(|record| record.key).collect();
        self.fact(intake.meters, Waiter::Meters(node, keys));
        self.fact(intake.observed, Waiter::Nobody);
        self.fact(intake.removed, Waiter::Nobody);
    }

    /// Counts a report, and the time it is about once.
    fn count(&self, node: NodeId, report: &Report) {
        let (state, metrics) = (self.log.state(), self.log.metrics());
        metrics.count_report();
        let news = state.usage(node).is_none_or(|known| known.at != report.usage.at);
        if let Some(known) = state.node(node).filter(|_| news) {
            let band = state.policy().band();
            metrics.count_time(&report.usage, known.facts.capacity.cpu, band);
        }
    }

    fn fact(&mut self, command: Option<Command>, waiter: Waiter) {
        let Some(command) = command else { return };
        match self.log.state().validate(&command) {
            Ok(()) => self.pending.0.push((command, None, waiter)),
            Err(refusal) => warn!(%refusal, "part of a report refused"),
        }
    }

    fn ask_log(
        &self,
        instance: InstanceId,
        request: v1::LogRequest,
        sink: LogSink,
    ) -> Result<(), Status> {
        let unknown = || status(Code::NotFound, &Refusal::UnknownInstance(instance).said());
        let found = self.log.state().instance(instance).ok_or_else(unknown)?;
        let waits = || status(Code::FailedPrecondition, &said!(NoOutputYet, instance));
        let node = found.node.ok_or_else(waits)?;
        self.links.ask_log(node, request, sink)
    }

    /// Looks who is silent, which rollouts are over and which runs are due, and journals what follows.
    fn watch(&mut self) -> Result<(), JournalError> {
        self.log.note(Command::Watch);
        if self.read_only.is_some() {
            return Ok(());
        }
        let now = self.log.now();
        if let Some(days) = self.calendar.days(now) {
            self.log.note(days);
        }
        if let Some(windows) = self.calendar.windows(self.log.state(), now) {
            self.log.note(windows);
        }
        let mut decided = liveness::judge(self.log.state(), now);
        for command in &decided {
            warn!(?command, "liveness of a node changed");
        }
        let rollouts = rollout::judge(self.log.state(), now);
        for command in &rollouts {
            info!(?command, "rollout judged");
        }
        decided.extend(rollouts);
        decided.extend(self.calendar.due(self.log.state(), now));
        self.log.commit(decided)?;
        let concluded = self.links.reported().conclude(self.log.state());
        if let Some(command) = concluded {
            warn!(?command, "nodes run what the restored journal says");
            self.log.commit(vec![command])?;
        }
        Ok(())
    }

    /// Commits what is pending and answers.
    fn flush(&mut self) -> Result<(), JournalError> {
        let pending = std::mem::take(&mut self.pending.0).into_iter();
        let (commands, waiters): (Vec<_>, Vec<_>) =
            pending.map(|(command, by, waiter)| ((command, by), waiter)).unzip();
        if commands.iter().any(|(c, _)| !matches!(c, Command::AcknowledgeMeters { .. })) {
            self.plan_soon();
        }
        let outcomes = self.log.commit_wished(commands)?;
        // Before anybody hears of it: who was let in comes in at once, and who was thrown out does not.
        self.roster.refresh(self.log.state());
        for (outcome, waiter) in outcomes.into_iter().zip(waiters) {
            self.settle(outcome, waiter);
        }
        Ok(())
    }

    fn settle(&mut self, outcome: Outcome, waiter: Waiter) {
        match (waiter, outcome) {
            (Waiter::Wish(decided, answer), outcome) => {
                let done = matches!(outcome, Outcome::Applied(_));
                if let Some(decided) = decided.filter(|_| done) {
                    self.planning.keep(self.log.state(), *decided);
                }
                deliver(answer, outcome);
            }
            (Waiter::Attach(_, link, answer), Outcome::Applied(Effect::Node(node))) => {
                self.connect(node, link, answer);
            }
            (Waiter::Attach(_, _, answer), Outcome::Refused(refusal)) => {
                deliver(answer, Err(AttachRefusal::Refused(refusal)));
            }
            (Waiter::Attach(..), Outcome::Applied(effect)) => {
                error!(?effect, "registering a node had another effect");
            }
            (Waiter::Meters(node, keys), Outcome::Applied(_)) => {
                let mark = |key: MeterKey| self.log.state().meter(node, key).map(|m| m.record);
                let marks: Vec<_> = keys.into_iter().filter_map(mark).collect();
                self.links.acknowledge(node, &marks);
                let now = self.log.now();
                self.links.note_metered(node, now);
            }
            (Waiter::Meters(..) | Waiter::Nobody, Outcome::Refused(refusal)) => {
                warn!(%refusal, "part of a report refused");
            }
            (Waiter::Nobody, Outcome::Applied(_)) => {}
        }
    }

    fn plan_soon(&mut self) {
        if self.plan_due.is_none() {
            self.plan_due = Some(Instant::now() + PLAN_DELAY);
        }
    }

    fn tick(&mut self) -> Result<(), JournalError> {
        let now = Instant::now();
        if now < self.tick_due {
            return Ok(());
        }
        self.tick_due = now + TICK;
        self.plan_due = Some(now);
        self.watch()?;
        let (at, listening) = (self.log.now(), self.log.state().listening_since());
        for node in self.links.drop_silent(at, listening) {
            self.log.note(Command::DisconnectNode(node));
        }
        Ok(())
    }

    fn plan(&mut self) -> Result<(), JournalError> {
        if self.plan_due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.plan_due = None;
        if self.read_only.is_some() {
            return Ok(());
        }
        let began = std::time::Instant::now();
        let planned = self.planning.run(&mut self.log);
        self.log.metrics().plan.observe(began.elapsed());
        planned
    }
}

/// Returns the values that a change leads to, and where they are from.
fn policy_after(
    state: &State,
    change: PolicyChange,
) -> Result<(BTreeMap<String, u64>, String), Refusal> {
    match change {
        PolicyChange::Replace(values, label) => Ok((values, label)),
        PolicyChange::Merge(mut values, label) => {
            let mut merged = state.policy().values().clone();
            merged.append(&mut values);
            Ok((merged, label))
        }
        PolicyChange::Rollback(version) => {
            let kept = state.policy_of(version)?;
            Ok((kept.values.clone(), format!("rollback to {version}")))
        }
    }
}

/// Says what a command would do that was found valid.
fn foreseen(state: &State, command: &Command) -> Effect {
    let Command::ApplyWorkload { spec, .. } = command else {
        return Effect::Done;
    };
    crate::view::foreseen(state, spec)
}

/// Answers; whoever asked may have gone away, and then nobody misses it.
fn deliver<T>(answer: oneshot::Sender<T>, value: T) {
    if answer.send(value).is_err() {
        debug!("whoever asked went away");
    }
}

/// Logs that the writer began.
pub(crate) fn announce(state: &State) {
    info!(epoch = %state.epoch(), sequence = %state.sequence(), "scheduler writes");
}

#[cfg(test)]
mod tests {
    use tengyun_engine::{Entry, Image};
    use tengyun_model::{At, Digest, Grant, OperationId, Role, Sequence};

    use super::*;
    use crate::clock::Clock;
    use crate::fixture::{apply, spec};
    use crate::journal::{Journal, SqliteJournal};

    const TOKEN_HOLDS: Millis = Millis::from_secs(60);

    /// A journal whose disk is full from the start.
    struct Full;

    fn full() -> JournalError {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        JournalError::Lock { path: "full".to_owned(), source }
    }

    impl Journal for Full {
        fn append(&mut self, _: Sequence, _: &[Entry]) -> Result<(), JournalError> {
            Err(full())
        }

        fn save_snapshot(&mut self, _: &Image) -> Result<(), JournalError> {
            panic!("a journal that failed is used again")
        }

        fn load_snapshot(&mut self) -> Result<Option<Image>, JournalError> {
            Ok(None)
        }

        fn verify(&mut self) -> Result<(), JournalError> {
            Ok(())
        }

        fn replay(
            &mut self,
            _: Sequence,
            _: &mut dyn FnMut(Sequence, Entry) -> bool,
        ) -> Result<(), JournalError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_journal_that_cannot_be_written_stops_the_writer_and_nobody_is_answered() {
        let clock = Clock::start(At::default());
        let log = Log::new(State::new(), clock, Some(Box::new(Full)), 1);
        let (queue, waiting) = mpsc::channel(4);
        let (roster, _) = Publisher::new(log.state());
        let writer =
            Writer::new(log, waiting, Millis::from_secs(1), None, (roster, Calendar::default()));
        let runtime = Handle::current();
        let thread = std::thread::spawn(move || writer.run(&runtime));
        let (answer, outcome) = oneshot::channel();
        let command = Box::new(apply(1, spec("web", 1)));
        assert!(
            queue.send(Request::Wish { command, dry_run: false, by: None, answer }).await.is_ok()
        );
        assert!(outcome.await.is_err(), "a wish that was not kept was answered");
        let ended = tokio::task::spawn_blocking(move || thread.join()).await.unwrap().unwrap();
        assert!(ended.is_err());
    }

    /// Commits one wish as the loop would, up to its answer.
    fn wish(writer: &mut Writer, command: Command) {
        let (answer, mut outcome) = oneshot::channel();
        let command = Box::new(command);
        writer.batch(Request::Wish { command, dry_run: false, by: None, answer }).unwrap();
        assert!(matches!(outcome.try_recv(), Ok(Outcome::Applied(_))));
    }

    #[test]
    fn whoever_is_told_of_a_member_finds_it_on_the_roster() {
        let dir = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&dir.path().join("journal.db")).unwrap();
        let clock = Clock::start(At::default());
        let log = Log::new(State::new(), clock, Some(Box::new(journal)), 1000);
        let (_queue, waiting) = mpsc::channel(1);
        let (publisher, mut roster) = Publisher::new(log.state());
        let publishing = (publisher, Calendar::default());
        let mut writer = Writer::new(log, waiting, Millis::from_secs(1), None, publishing);
        let (member, key) = (Member::Person("vera".parse().unwrap()), Digest::new([2; 32]));
        let (token, expires) = (Digest::new([1; 32]), writer.log.now().after(TOKEN_HOLDS));
        let grant = Grant::Person("vera".parse().unwrap(), Role::Viewer);
        wish(&mut writer, Command::CreateToken { token, grant, expires });
        assert!(!roster.has_changed().unwrap(), "nobody was let in yet");
        wish(&mut writer, Command::RedeemToken { token, member: member.clone(), key });
        assert!(roster.has_changed().unwrap(), "who joined would be sent away");
        roster.mark_unchanged();
        let operation = OperationId::new(1);
        wish(&mut writer, Command::RevokeMember { operation, member });
        assert!(roster.has_changed().unwrap(), "who was revoked would still come in");
    }
}
