//! Metrics over TLS: for whoever may see the whole cloud, by a certificate.

use tengyun_model::Role;
use tengyun_proto::tls;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::codegen::http::{Request, header};
use tonic::transport::Channel;

use crate::members::{House, connect, node};

/// Asks for metrics and returns the content type, or the code of the refusal.
async fn scrape(mut channel: Channel) -> Result<String, Code> {
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    let response = channel.call(request).await.unwrap();
    if let Some(status) = tonic::Status::from_header_map(response.headers()) {
        return Err(status.code());
    }
    assert!(response.status().is_success());
    Ok(response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned())
}

#[tokio::test]
async fn metrics_are_told_to_those_who_may_see_the_whole_cloud() {
    let house = House::open().await;
    let department = Role::Department("city/finance".parse().unwrap());
    let token = house.token(&tengyun_model::Grant::NewNode).await;
    let revoked = house.node("n2").await;
    house.revoke(&node("n2")).await;
    let text = "application/openmetrics-text; version=1.0.0; charset=utf-8".to_owned();
    for channel in [
        house.scheduler.channel.clone(),
        connect(&house.person("olga", Role::Operator).await).await,
        connect(&house.person("vera", Role::Viewer).await).await,
    ] {
        assert_eq!(scrape(channel).await, Ok(text.clone()));
    }
    for (channel, code) in [
        (connect(&house.person("dora", department).await).await, Code::PermissionDenied),
        (connect(&house.node("n1").await).await, Code::PermissionDenied),
        (tls::connect_unknown(&token).await.unwrap().0, Code::Unauthenticated),
        (connect(&revoked).await, Code::Unauthenticated),
    ] {
        assert_eq!(scrape(channel).await, Err(code));
    }
    house.scheduler.stop().await;
}
