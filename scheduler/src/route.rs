//! Which service a call is for: a chain of services, asked one after the other by the call's path.
//!
//! The library's own router brings a web framework; four services need none.

use std::convert::Infallible;

use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Context, Poll, Service};
use tonic::server::NamedService;

/// One service, and what is asked when a call is not for it.
#[derive(Clone, Debug)]
pub(crate) struct Route<S, N> {
    service: S,
    next: N,
}

/// The end of a chain: nothing here is called so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nothing;

impl<S, N> Route<S, N> {
    /// Puts a service before others.
    pub(crate) fn new(service: S, next: N) -> Self {
        Self { service, next }
    }
}

impl<S, N> Service<Request<Body>> for Route<S, N>
where
    S: NamedService + Calls,
    N: Calls,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Every service of the library is always ready; limits are before this chain.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_for(request.uri().path(), S::NAME) {
            self.service.call(request)
        } else {
            self.next.call(request)
        }
    }
}

impl Service<Request<Body>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        let answer = Status::unimplemented("no service is called so").into_http();
        Box::pin(async move { Ok(answer) })
    }
}

/// What every service in a chain is.
pub(crate) trait Calls:
    Service<
        Request<Body>,
        Response = Response<Body>,
        Error = Infallible,
        Future = BoxFuture<Response<Body>, Infallible>,
    >
{
}

impl<S> Calls for S where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future = BoxFuture<Response<Body>, Infallible>,
        >
{
}

/// Returns true when a path is `/<service>/<method>`.
fn is_for(path: &str, service: &str) -> bool {
    path.strip_prefix('/')
        .and_then(|rest| rest.strip_prefix(service))
        .is_some_and(|method| method.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::is_for;

    #[test]
    fn a_path_names_one_service_exactly() {
        assert!(is_for("/tengyun.v1.AgentService/Attach", "tengyun.v1.AgentService"));
        assert!(!is_for("/tengyun.v1.AgentServiceX/Attach", "tengyun.v1.AgentService"));
        assert!(!is_for("/tengyun.v1.AgentService", "tengyun.v1.AgentService"));
        assert!(!is_for("tengyun.v1.AgentService/Attach", "tengyun.v1.AgentService"));
        assert!(!is_for("/", "tengyun.v1.AgentService"));
    }
}
