//! Applying workloads: each item is checked, wished or rehearsed, and answered in its place.

use tengyun_engine::{Command, Outcome};
use tengyun_model::WorkloadSpec;
use tengyun_proto::convert::operation_id;
use tengyun_proto::v1;
use tonic::Status;

use super::{Operators, bad_field, invalid, not_yours, spec};
use crate::caller::{Asker, Scope};
use crate::desk::Answer;
use crate::secrets;
use crate::view::{effect_revision, effect_word, refusal};

/// Of so many items of a dry run it is said what would become of them: each costs as much as a plan.
const REHEARSED_MAX: usize = 16;

/// What became of one item, or the answer that will say it.
enum Item {
    Refused(v1::Refusal),
    Asked(Answer<Outcome>),
    /// What is wished, to be rehearsed when it is found valid.
    Tried(Answer<Outcome>, Box<WorkloadSpec>),
}

impl Operators {
    /// Applies every item of a request, or says what would become of each.
    pub(super) async fn apply_all(
        &self,
        request: v1::ApplyRequest,
        asker: &Asker,
    ) -> Result<Vec<v1::ApplyResult>, Status> {
        let mut asked = Vec::with_capacity(request.items.len());
        for (i, item) in request.items.into_iter().enumerate() {
            let key = item.spec.as_ref().and_then(|spec| spec.key.clone());
            let item = self.apply_item(item, request.dry_run, asker).await;
            asked.push((key, item.map_err(|status| in_item(i, &status))?));
        }
        let mut results = Vec::with_capacity(asked.len());
        for (i, (key, item)) in asked.into_iter().enumerate() {
            results.push(match item {
                Item::Refused(refused) => refused_item(key, refused),
                Item::Tried(answer, spec) if i < REHEARSED_MAX => {
                    let outcome = answer.wait().await?;
                    self.rehearse(key, outcome, spec, asker.scope.clone()).await?
                }
                Item::Asked(answer) | Item::Tried(answer, _) => {
                    applied_item(key, answer.wait().await?)
                }
            });
        }
        Ok(results)
    }

    async fn apply_item(
        &self,
        item: v1::ApplyItem,
        dry_run: bool,
        asker: &Asker,
    ) -> Result<Item, Status> {
        if let Some(refused) = self.read_only() {
            return Ok(Item::Refused(refused));
        }
        let department = item.spec.as_ref().and_then(|spec| spec.key.as_ref());
        if let Some(foreign) = department.filter(|key| !asker.scope.covers(&key.department)) {
            return Ok(Item::Refused(not_yours(&foreign.department)));
        }
        let operation = operation_id("operation_id", &item.operation_id).map_err(invalid)?;
        let spec = match spec(item.spec) {
            Ok(spec) => spec,
            Err(error) => return Ok(Item::Refused(bad_field(&error))),
        };
        if let Err(refused) = secrets::check(&spec, &self.secrets) {
            return Ok(Item::Refused(*refused));
        }
        let spec = Box::new(spec);
        let tried = dry_run.then(|| spec.clone());
        let command = Command::ApplyWorkload { operation, spec };
        let answer = self.submit(command, dry_run, asker.wisher.clone()).await?;
        Ok(match tried {
            Some(spec) => Item::Tried(answer, spec),
            None => Item::Asked(answer),
        })
    }

    /// Says what would become of what is wished, if it would be carried out.
    async fn rehearse(
        &self,
        key: Option<v1::WorkloadKey>,
        outcome: Outcome,
        spec: Box<WorkloadSpec>,
        scope: Scope,
    ) -> Result<v1::ApplyResult, Status> {
        let rehearsal = match &outcome {
            Outcome::Applied(_) => {
                Some(self.desk.read(move |view| view.rehearsal(&spec, &scope)).await?)
            }
            Outcome::Refused(_) => None,
        };
        Ok(v1::ApplyResult { rehearsal, ..applied_item(key, outcome) })
    }
}

fn applied_item(key: Option<v1::WorkloadKey>, outcome: Outcome) -> v1::ApplyResult {
    match outcome {
        Outcome::Applied(effect) => v1::ApplyResult {
            key,
            effect: effect_word(&effect).to_owned(),
            revision: effect_revision(&effect),
            ..v1::ApplyResult::default()
        },
        Outcome::Refused(refused) => refused_item(key, refusal(&refused)),
    }
}

fn refused_item(key: Option<v1::WorkloadKey>, refused: v1::Refusal) -> v1::ApplyResult {
    v1::ApplyResult { key, refusal: Some(refused), ..v1::ApplyResult::default() }
}

fn in_item(index: usize, status: &Status) -> Status {
    Status::new(status.code(), format!("items[{index}].{}", status.message()))
}
