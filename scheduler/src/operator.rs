//! The operators' service: wishes go to the writer, looks are taken there.

mod applied;

use std::collections::BTreeMap;
use std::sync::Arc;

use tengyun_engine::{Command, Outcome, Proof, Steer};
use tengyun_model::{
    CopyKey, InstanceId, NodeId, Revision, Said, Wisher, WorkloadKey, WorkloadSpec, said,
};
use tengyun_proto::convert::{ConvertError, operation_id};
use tengyun_proto::refused::status;
use tengyun_proto::v1;
use tengyun_proto::v1::operator_service_server::OperatorService;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use crate::caller::{Asker, Scope};
use crate::desk::{self, Answer, Desk, PolicyChange};
use crate::journal::codec::node_wish_from_wire;
use crate::secrets::Secrets;
use crate::view::{self, View, effect_word, refusal};

/// The most workloads of one call; a call's answer should come within its time.
const ITEMS_MAX: usize = 1000;
/// The most knobs of one call; there are fewer.
const KNOBS_MAX: usize = 1000;
/// How many chunks of output may wait for one reader.
const LOG_CHUNKS_MAX: usize = 256;

/// Serves operators.
#[derive(Debug)]
pub(crate) struct Operators {
    pub desk: Desk,
    pub secrets: Arc<Secrets>,
}

impl Operators {
    fn read_only(&self) -> Option<v1::Refusal> {
        self.desk.read_only().map(view::read_only)
    }

    async fn submit(
        &self,
        command: Command,
        dry_run: bool,
        by: Option<Wisher>,
    ) -> Result<Answer<Outcome>, Status> {
        let command = Box::new(command);
        self.desk.submit(|answer| desk::Request::Wish { command, dry_run, by, answer }).await
    }

    async fn operate(
        &self,
        operation: &str,
        key: Option<v1::WorkloadKey>,
        asker: Asker,
        make: impl FnOnce(tengyun_model::OperationId, WorkloadKey) -> Command,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let key = workload_key(key)?;
        if !asker.scope.covers(key.department.as_str()) {
            return Ok(Response::new(denied(not_yours(key.department.as_str()))));
        }
        self.wish(operation, asker, |operation| make(operation, key)).await
    }

    async fn wish(
        &self,
        operation: &str,
        asker: Asker,
        make: impl FnOnce(tengyun_model::OperationId) -> Command,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        if let Some(refused) = self.read_only() {
            return Ok(Response::new(denied(refused)));
        }
        let operation = operation_id("operation_id", operation).map_err(invalid)?;
        let outcome = self.submit(make(operation), false, asker.wisher).await?.wait().await?;
        Ok(Response::new(operated(&outcome)))
    }

    /// Refuses an instance of another department as if it were not there.
    async fn check_instance(&self, id: InstanceId, scope: Scope) -> Result<(), Status> {
        if scope == Scope::All {
            return Ok(());
        }
        let department = self.desk.read(move |view| view.department_of(id)).await?;
        if department.is_some_and(|department| scope.covers(department.as_str())) {
            return Ok(());
        }
        Err(not_there())
    }

    async fn policy(
        &self,
        refusal: Option<v1::Refusal>,
    ) -> Result<Response<v1::PolicyResponse>, Status> {
        let shown = self.desk.read(|view| view.policy()).await?;
        Ok(Response::new(v1::PolicyResponse { refusal, ..shown }))
    }
}

#[tonic::async_trait]
impl OperatorService for Operators {
    type LogsStream = ReceiverStream<Result<v1::LogsResponse, Status>>;

    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let asker = Asker::of(&request);
        let request = request.into_inner();
        if request.items.len() > ITEMS_MAX {
            return Err(more_than("items", request.items.len(), ITEMS_MAX));
        }
        let results = self.apply_all(request, &asker).await?;
        Ok(Response::new(v1::ApplyResponse { results }))
    }

    async fn stop(
        &self,
        request: Request<v1::StopRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let asker = Asker::of(&request);
        let request = request.into_inner();
        let make = |operation, key| Command::StopWorkload { operation, key };
        self.operate(&request.operation_id, request.key, asker, make).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let asker = Asker::of(&request);
        let request = request.into_inner();
        let make = |operation, key| Command::DeleteWorkload { operation, key };
        self.operate(&request.operation_id, request.key, asker, make).await
    }

    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        self.desk.read(|view| view.nodes()).await.map(Response::new)
    }

    async fn list_departments(
        &self,
        request: Request<v1::ListDepartmentsRequest>,
    ) -> Result<Response<v1::ListDepartmentsResponse>, Status> {
        let scope = Scope::of(&request);
        let mut departments = self.desk.read(|view| view.departments()).await?;
        departments.retain(|view| scope.covers(&view.department));
        Ok(Response::new(v1::ListDepartmentsResponse { departments }))
    }

    async fn list_workloads(
        &self,
        request: Request<v1::ListWorkloadsRequest>,
    ) -> Result<Response<v1::ListWorkloadsResponse>, Status> {
        let scope = Scope::of(&request);
        let department = request.into_inner().department;
        let mut workloads = self.desk.read(move |view| view.workloads(&department)).await?;
        workloads.retain(|view| covers(&scope, view.spec.as_ref().and_then(|s| s.key.as_ref())));
        Ok(Response::new(v1::ListWorkloadsResponse { workloads }))
    }

    async fn list_instances(
        &self,
        request: Request<v1::ListInstancesRequest>,
    ) -> Result<Response<v1::ListInstancesResponse>, Status> {
        let scope = Scope::of(&request);
        let request = request.into_inner();
        let key = request.key.map(|key| workload_key(Some(key))).transpose()?;
        let look = move |view: View<'_>| view.instances(key.as_ref(), request.all);
        let mut list = self.desk.read(look).await?;
        list.instances.retain(|view| covers(&scope, view.key.as_ref()));
        Ok(Response::new(list))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let scope = Scope::of(&request);
        let request = request.into_inner();
        let explained = if let Some(id) = request.instance {
            self.check_instance(InstanceId::new(id), scope).await?;
            self.desk.read(move |view| view.explain(InstanceId::new(id))).await?
        } else {
            let key = workload_key(request.key)?;
            if !scope.covers(key.department.as_str()) {
                return Err(not_there());
            }
            self.desk.read(move |view| view.explain_workload(&key)).await?
        };
        Ok(Response::new(explained))
    }

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let scope = Scope::of(&request);
        let request = request.into_inner();
        self.check_instance(InstanceId::new(request.instance), scope).await?;
        let (sink, lines) = mpsc::channel(LOG_CHUNKS_MAX);
        let wanted = v1::LogRequest {
            request: 0,
            instance: request.instance,
            tail_lines: request.tail_lines,
            follow: request.follow,
        };
        let instance = InstanceId::new(request.instance);
        self.desk
            .ask(|answer| desk::Request::Log { instance, request: wanted, sink, answer })
            .await??;
        Ok(Response::new(ReceiverStream::new(lines)))
    }

    async fn get_policy(
        &self,
        _: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::PolicyResponse>, Status> {
        self.policy(None).await
    }

    async fn set_policy(
        &self,
        request: Request<v1::SetPolicyRequest>,
    ) -> Result<Response<v1::PolicyResponse>, Status> {
        let by = Asker::of(&request).wisher;
        let request = request.into_inner();
        if let refusal @ Some(_) = self.read_only() {
            return self.policy(refusal).await;
        }
        if request.values.len() > KNOBS_MAX {
            return Err(more_than("values", request.values.len(), KNOBS_MAX));
        }
        let operation = operation_id("operation_id", &request.operation_id).map_err(invalid)?;
        let change = policy_change(request).map_err(Status::invalid_argument)?;
        let asked = |answer| desk::Request::SetPolicy { operation, change, by, answer };
        let outcome = self.desk.ask(asked).await?;
        match outcome {
            Outcome::Applied(_) => self.policy(None).await,
            Outcome::Refused(refused) => self.policy(Some(refusal(&refused))).await,
        }
    }

    async fn list_policies(
        &self,
        _: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        self.desk.read(|view| view.policies()).await.map(Response::new)
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        self.desk.read(|view| view.status()).await.map(Response::new)
    }

    async fn set_node_wish(
        &self,
        request: Request<v1::SetNodeWishRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let asker = Asker::of(&request);
        let request = request.into_inner();
        let wish = node_wish_from_wire(request.wish())
            .map_err(|_| Status::invalid_argument("wish: is missing or not known here"))?;
        let node = NodeId::new(request.node);
        let make = |operation| Command::SetNodeWish { operation, node, wish };
        self.wish(&request.operation_id, asker, make).await
    }

    async fn list_leaving(
        &self,
        request: Request<v1::ListLeavingRequest>,
    ) -> Result<Response<v1::ListLeavingResponse>, Status> {
        let request = request.into_inner();
        let node = NodeId::new(request.node);
        let rehearse = request.rehearse.then_some(request.force);
        self.desk.read(move |view| view.leaving(node, rehearse)).await.map(Response::new)
    }

    async fn r#move(
        &self,
        request: Request<v1::MoveRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let by = Asker::of(&request).wisher;
        let request = request.into_inner();
        if let Some(refused) = self.read_only() {
            return Ok(Response::new(denied(refused)));
        }
        let operation = operation_id("operation_id", &request.operation_id).map_err(invalid)?;
        let (instance, to) = (InstanceId::new(request.instance), NodeId::new(request.to));
        let command = Box::new(Command::MoveInstance { operation, instance, to });
        let asked =
            self.desk.ask(|answer| desk::Request::Move { command, instance, to, by, answer });
        let response = match asked.await? {
            Ok(answer) => operated(&answer.wait().await?),
            Err(refused) => {
                let (refused, remedy) = *refused;
                let own = refusal(&refused);
                denied(if remedy.is_empty() { own } else { view::helped(own, &remedy) })
            }
        };
        Ok(Response::new(response))
    }

    async fn acknowledge_loss(
        &self,
        request: Request<v1::AcknowledgeLossRequest>,
    ) -> Result<Response<v1::AcknowledgeLossResponse>, Status> {
        let by = Asker::of(&request).wisher;
        let request = request.into_inner();
        let refused = |refusal| {
            let nodes = Vec::new();
            Response::new(v1::AcknowledgeLossResponse { nodes, refusal: Some(refusal) })
        };
        if let Some(read_only) = self.read_only() {
            return Ok(refused(read_only));
        }
        if request.nodes.len() > ITEMS_MAX {
            return Err(more_than("nodes", request.nodes.len(), ITEMS_MAX));
        }
        let operation = operation_id("operation_id", &request.operation_id).map_err(invalid)?;
        let nodes = request.nodes.into_iter().map(NodeId::new).collect();
        let proof = if request.dead { Proof::Death } else { Proof::Silence };
        let asked = self.desk.ask(|answer| desk::Request::AcknowledgeLoss {
            operation,
            nodes,
            proof,
            by,
            answer,
        });
        Ok(match asked.await? {
            Ok(nodes) => {
                let nodes = nodes.into_iter().map(NodeId::get).collect();
                Response::new(v1::AcknowledgeLossResponse { nodes, refusal: None })
            }
            Err(why) => refused(refusal(&why)),
        })
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let asker = Asker::of(&request);
        let request = request.into_inner();
        let make = |operation, key| Command::ReleaseWorkload { operation, key };
        self.operate(&request.operation_id, request.key, asker, make).await
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<v1::ListEventsResponse>, Status> {
        let filter = Box::new(request.into_inner());
        let list = self.desk.ask(|answer| desk::Request::Events { filter, answer }).await?;
        Ok(Response::new(list))
    }

    async fn confirm_restore(
        &self,
        request: Request<v1::ConfirmRestoreRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let asker = Asker::of(&request);
        let make = |operation| Command::ConfirmRestore { operation };
        self.wish(&request.into_inner().operation_id, asker, make).await
    }

    async fn forget_node(
        &self,
        request: Request<v1::ForgetNodeRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let asker = Asker::of(&request);
        let request = request.into_inner();
        let node = NodeId::new(request.node);
        let proof = if request.dead { Proof::Death } else { Proof::Silence };
        let make = |operation| Command::ForgetNode { operation, node, proof };
        self.wish(&request.operation_id, asker, make).await
    }

    async fn get_rollout(
        &self,
        request: Request<v1::GetRolloutRequest>,
    ) -> Result<Response<v1::GetRolloutResponse>, Status> {
        let scope = Scope::of(&request);
        let key = workload_key(request.into_inner().key)?;
        if !scope.covers(key.department.as_str()) {
            return Err(not_there());
        }
        self.desk.read(move |view| view.rollout(&key)).await.map(Response::new)
    }

    async fn steer_rollout(
        &self,
        request: Request<v1::SteerRolloutRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let asker = Asker::of(&request);
        let request = request.into_inner();
        let steer = match request.steer() {
            v1::Steer::Pause => Steer::Pause,
            v1::Steer::Resume => Steer::Resume,
            v1::Steer::Undo => Steer::Undo(request.revision.map(Revision::new)),
            v1::Steer::Unspecified => {
                return Err(Status::invalid_argument("steer: is missing or not known here"));
            }
        };
        let make = |operation, key| Command::SteerRollout { operation, key, steer };
        self.operate(&request.operation_id, request.key, asker, make).await
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Result<Response<v1::ListRunsResponse>, Status> {
        let scope = Scope::of(&request);
        let key = request.into_inner().key.map(|key| workload_key(Some(key))).transpose()?;
        let mut runs = self.desk.read(move |view| view.runs(key.as_ref())).await?;
        runs.retain(|view| covers(&scope, view.key.as_ref()));
        Ok(Response::new(v1::ListRunsResponse { runs }))
    }

    async fn list_meters(
        &self,
        request: Request<v1::ListMetersRequest>,
    ) -> Result<Response<v1::ListMetersResponse>, Status> {
        let scope = Scope::of(&request);
        let instance = request.into_inner().instance.map(InstanceId::new);
        let mut meters = self.desk.read(move |view| view.meters(instance)).await?;
        meters.retain(|view| covers(&scope, view.key.as_ref()));
        Ok(Response::new(v1::ListMetersResponse { meters }))
    }

    async fn list_volumes(
        &self,
        request: Request<v1::ListVolumesRequest>,
    ) -> Result<Response<v1::ListVolumesResponse>, Status> {
        let scope = Scope::of(&request);
        let mut volumes = self.desk.read(|view| view.volumes()).await?;
        let key = |view: &v1::VolumeView| view.copy.clone().and_then(|copy| copy.workload);
        volumes.retain(|view| covers(&scope, key(view).as_ref()));
        Ok(Response::new(v1::ListVolumesResponse { volumes }))
    }

    async fn delete_volumes(
        &self,
        request: Request<v1::DeleteVolumesRequest>,
    ) -> Result<Response<v1::OperationResponse>, Status> {
        let asker = Asker::of(&request);
        let request = request.into_inner();
        let node = NodeId::new(request.node);
        let ordinal = request.copy.as_ref().map(|copy| copy.ordinal).unwrap_or_default();
        let key = request.copy.and_then(|copy| copy.workload);
        let make = |operation, workload| {
            let copy = CopyKey { workload, ordinal };
            Command::DeleteVolumes { operation, copy, node }
        };
        self.operate(&request.operation_id, key, asker, make).await
    }
}

/// Reads what a request makes of the policy.
fn policy_change(request: v1::SetPolicyRequest) -> Result<PolicyChange, &'static str> {
    let values = request.values.into_iter().map(|knob| (knob.name, knob.value)).collect();
    match request.rollback_to {
        Some(version) if values == BTreeMap::new() && !request.replace => {
            Ok(PolicyChange::Rollback(version))
        }
        Some(_) => Err("rollback_to: a version brings its own values, give no others"),
        None if request.replace => Ok(PolicyChange::Replace(values, request.label)),
        None => Ok(PolicyChange::Merge(values, request.label)),
    }
}

fn operated(outcome: &Outcome) -> v1::OperationResponse {
    match outcome {
        Outcome::Applied(effect) => {
            v1::OperationResponse { effect: effect_word(effect).to_owned(), refusal: None }
        }
        Outcome::Refused(refused) => denied(refusal(refused)),
    }
}

const fn denied(refusal: v1::Refusal) -> v1::OperationResponse {
    v1::OperationResponse { effect: String::new(), refusal: Some(refusal) }
}

/// Says the same of what another department has and of what is not there at all.
fn not_there() -> Status {
    status(Code::NotFound, &said!(NothingSoCalled))
}

fn more_than(field: &str, count: usize, most: usize) -> Status {
    status(Code::InvalidArgument, &said!(MoreThan, field, count, most))
}

fn covers(scope: &Scope, key: Option<&v1::WorkloadKey>) -> bool {
    key.is_some_and(|key| scope.covers(&key.department))
}

fn not_yours(department: &str) -> v1::Refusal {
    view::refused("not-yours", &said!(NotYours, department), &said!(DoAskOperator))
}

fn spec(wire: Option<v1::WorkloadSpec>) -> Result<WorkloadSpec, ConvertError> {
    let wire = wire.ok_or_else(|| ConvertError::new("spec", "is missing"))?;
    WorkloadSpec::try_from(wire).map_err(|e| e.within("spec"))
}

fn workload_key(wire: Option<v1::WorkloadKey>) -> Result<WorkloadKey, Status> {
    let wire = wire.ok_or_else(|| invalid(ConvertError::new("key", "is missing")))?;
    WorkloadKey::try_from(wire).map_err(|e| invalid(e.within("key")))
}

fn bad_field(error: &ConvertError) -> v1::Refusal {
    view::refused("bad-field", &Said::verbatim(error.to_string()), &said!(DoCorrect))
}

#[expect(clippy::needless_pass_by_value, reason = "it is the argument of map_err")]
fn invalid(error: ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}
