//! Operations: a wish that comes twice is carried out once.

use tengyun_model::{At, Millis, OperationId};

use super::State;
use crate::command::{Command, Effect, Refusal};
use crate::image::OperationImage;

/// How long an operation is remembered: far longer than any client retries.
const REMEMBERED: Millis = Millis::from_secs(24 * 3600);
/// The most operations remembered, whatever their age.
const REMEMBERED_MAX: usize = 1_000_000;

impl State {
    /// Carries out a wish unless it was carried out before, and remembers what came of it.
    pub(super) fn once(
        &mut self,
        id: OperationId,
        at: At,
        wish: impl FnOnce(&mut Self) -> Result<Effect, Refusal>,
    ) -> Result<Effect, Refusal> {
        if let Some(done) = self.operations.get(&id) {
            return Ok(done.effect.clone());
        }
        let effect = wish(self)?;
        self.remember(OperationImage { id, effect: effect.clone(), at });
        Ok(effect)
    }

    pub(super) fn remember(&mut self, operation: OperationImage) {
        let at = operation.at;
        self.operation_order.insert((at, operation.id));
        self.operations.insert(operation.id, operation);
        while let Some(oldest) = self.operation_order.first().copied() {
            if at.since(oldest.0) <= REMEMBERED && self.operations.len() <= REMEMBERED_MAX {
                break;
            }
            self.operation_order.remove(&oldest);
            self.operations.remove(&oldest.1);
        }
    }

    /// Refuses another wish under an id that is remembered.
    pub(super) fn check_operation(&self, command: &Command) -> Result<(), Refusal> {
        let (id, same) = match command {
            Command::ApplyWorkload { operation, spec } => {
                (*operation, self.was_applied(*operation, spec))
            }
            Command::StopWorkload { operation, .. }
            | Command::DeleteWorkload { operation, .. }
            | Command::SetPolicy { operation, .. }
            | Command::SetNodeWish { operation, .. }
            | Command::MoveInstance { operation, .. }
            | Command::AcknowledgeLoss { operation, .. }
            | Command::ReleaseWorkload { operation, .. }
            | Command::RevokeMember { operation, .. }
            | Command::DeleteVolumes { operation, .. }
            | Command::ConfirmRestore { operation }
            | Command::ForgetNode { operation, .. }
            | Command::SteerRollout { operation, .. } => (
                *operation,
                self.operations.get(operation).is_none_or(|o| o.effect == Effect::Done),
            ),
            Command::BeginEpoch
            | Command::RegisterNode(_)
            | Command::ObserveInstances { .. }
            | Command::CommitPlan(_)
            | Command::AcknowledgeMeters { .. }
            | Command::CreateToken { .. }
            | Command::RedeemToken { .. }
            | Command::Restore { .. }
            | Command::SettleRestore(_)
            | Command::ReportUsage { .. }
            | Command::ReportHistory { .. }
            | Command::ConnectNode(_)
            | Command::DisconnectNode(_)
            | Command::DeclareLost(_)
            | Command::DeclareReturned(_)
            | Command::ForgetVolumes { .. }
            | Command::Watch
            | Command::JudgeRollout { .. }
            | Command::FireRun { .. }
            | Command::NoteWindows(_)
            | Command::NoteDays(_) => return Ok(()),
        };
        if same { Ok(()) } else { Err(Refusal::OperationReused(id)) }
    }

    /// Says whether the operation, if it is remembered, applied this workload.
    fn was_applied(&self, id: OperationId, spec: &tengyun_model::WorkloadSpec) -> bool {
        match self.operations.get(&id).map(|o| &o.effect) {
            None => true,
            Some(
                Effect::Created(workload, _)
                | Effect::Updated(workload, _)
                | Effect::Unchanged(workload, _),
            ) => {
                // A workload that is gone since cannot be compared; the wish was carried out.
                let known = self.workloads.get(workload);
                known.is_none_or(|w| w.revisions[&w.revision].key == spec.key)
            }
            Some(
                Effect::Done | Effect::Node(_) | Effect::Planned { .. } | Effect::Admitted { .. },
            ) => false,
        }
    }
}
