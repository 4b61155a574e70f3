//! `tengyun get volumes` and `tengyun volume`: what stays on the nodes.

use serde_json::{Value, json};
use tengyun_proto::v1;

use crate::failure::Failure;
use crate::get::within;
use crate::message::{Message, word};
use crate::output::{clean, memory, show, table, time};
use crate::session::{Session, operation_id, path};

/// What `volume` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct VolumeArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Remove the volumes of one copy of a workload from a node, with all that they hold
    Delete(DeleteArgs),
}

#[derive(Debug, clap::Args)]
struct DeleteArgs {
    /// The workload, by its path or the end of it; it may be deleted already
    name: String,
    /// Which copy, from 0
    #[arg(long, value_name = "N")]
    copy: u32,
    /// From which node, where there is more than one
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

/// Does what is said about volumes.
pub(crate) async fn run(session: &Session, args: VolumeArgs) -> Result<(), Failure> {
    match args.verb {
        Verb::Delete(args) => delete(session, args).await,
    }
}

/// Lists the volumes.
pub(crate) async fn list(session: &Session, department: Option<&str>) -> Result<(), Failure> {
    let mut views = volumes(session).await?;
    views.retain(|view| within(&key(view).department, department));
    let json: Vec<Value> = views.iter().map(volume_json).collect();
    show(session.format, || volume_table(session, &views), &json!(json))
}

async fn volumes(session: &Session) -> Result<Vec<v1::VolumeView>, Failure> {
    let list = session.call(|mut o| async move { o.list_volumes(v1::ListVolumesRequest {}).await });
    Ok(list.await?.volumes)
}

fn key(view: &v1::VolumeView) -> v1::WorkloadKey {
    view.copy.clone().and_then(|copy| copy.workload).unwrap_or_default()
}

fn ordinal(view: &v1::VolumeView) -> u32 {
    view.copy.as_ref().map(|copy| copy.ordinal).unwrap_or_default()
}

fn volume_table(session: &Session, views: &[v1::VolumeView]) -> String {
    let headings = session.headings(&[
        "WORKLOAD", "COPY", "NODE", "VOLUMES", "SIZE", "USED", "STATE", "INSTANCE", "SINCE",
    ]);
    let row = |view: &v1::VolumeView| {
        let names: Vec<&str> = view.volumes.iter().map(|v| v.name.as_str()).collect();
        vec![
            path(key(view)),
            ordinal(view).to_string(),
            view.node_name.clone(),
            names.join(", "),
            memory(view.volumes.iter().map(|v| v.size_mib).sum()),
            view.used_mib.map_or_else(|| "-".to_owned(), memory),
            word(&view.state),
            if view.instance > 0 { view.instance.to_string() } else { "-".to_owned() },
            time(view.since_millis),
        ]
    };
    table(&headings, &views.iter().map(row).collect::<Vec<_>>())
}

fn volume_json(view: &v1::VolumeView) -> Value {
    let size = |v: &v1::VolumeSize| json!({"name": v.name, "size_mib": v.size_mib});
    json!({
        "workload": path(key(view)),
        "copy": ordinal(view),
        "node": view.node,
        "node_name": view.node_name,
        "volumes": view.volumes.iter().map(size).collect::<Vec<_>>(),
        "used_mib": view.used_mib,
        "state": view.state,
        "instance": (view.instance > 0).then_some(view.instance),
        "since_millis": view.since_millis,
    })
}

async fn delete(session: &Session, args: DeleteArgs) -> Result<(), Failure> {
    let is_named = |view: &v1::VolumeView| {
        let path = path(key(view));
        path == args.name || path.ends_with(&format!("/{}", args.name))
    };
    let mut found = volumes(session).await?;
    found.retain(|view| {
        let here = args.node.as_ref().is_none_or(|node| *node == view.node_name);
        is_named(view) && ordinal(view) == args.copy && here
    });
    let view = match found.as_slice() {
        [] => {
            let name = clean(&args.name);
            let problem = Message::NoVolumesThere { copy: &args.copy, name: &name };
            return Err(Failure::Refused(problem.said()));
        }
        [view] => view,
        several => {
            let each = |v: &v1::VolumeView| {
                Message::VolumeOn { name: &path(key(v)), node: &v.node_name }.said()
            };
            let list = several.iter().map(each).collect::<Vec<_>>().join(", ");
            return Err(Failure::Refused(Message::SeveralVolumes { list: &list }.said()));
        }
    };
    let request = v1::DeleteVolumesRequest {
        operation_id: operation_id()?,
        copy: view.copy.clone(),
        node: view.node,
    };
    let response = session.call(|mut o| {
        let request = request.clone();
        async move { o.delete_volumes(request).await }
    });
    if let Some(refusal) = response.await?.refusal {
        return Err(refusal.into());
    }
    let path = path(key(view));
    let text = || {
        let (path, node) = (clean(&path), clean(&view.node_name));
        Message::VolumesRemoving { path: &path, copy: &args.copy, node: &node }.said() + "\n"
    };
    let json =
        json!({"workload": path, "copy": args.copy, "node": view.node_name, "effect": "removing"});
    show(session.format, text, &json)
}
