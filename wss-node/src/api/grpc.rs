//! The API by gRPC. The service answers under Centrifugo's name too: clients made from its definition find what they
//! know.

use std::sync::Arc;

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::fault::Fault;
use super::methods::each;
use super::v1::server_api_server::ServerApi;
use super::v1::{self, BatchRequest, BatchResponse};
use super::{Api, Caller};

/// Where Centrifugo's clients look.
pub(super) const CENTRIFUGO: &str = "/centrifugal.centrifugo.api.CentrifugoApi/";
/// Where the service is.
pub(super) const SERVICE: &str = "/sealwire.server.v1.ServerApi/";

/// The path of our own service that a path stands for, if it is Centrifugo's.
fn own_path(path: &str) -> Option<String> {
    path.strip_prefix(CENTRIFUGO).map(|method| format!("{SERVICE}{method}"))
}

/// A request to Centrifugo's service, as one to ours.
pub(super) fn readdressed<B>(mut request: http::Request<B>) -> http::Request<B> {
    if let Some(uri) = own_path(request.uri().path()).and_then(|path| path.parse().ok()) {
        *request.uri_mut() = uri;
    }
    request
}

/// Who answers.
#[derive(Clone)]
pub(super) struct Grpc(pub(super) Arc<Api>);

/// Whether errors are to be told by the status of the transport.
fn by_status(metadata: &MetadataMap) -> bool {
    metadata.get(super::ERROR_MODE).is_some_and(|mode| mode == "transport")
}

fn status(fault: Fault) -> Status {
    let code = fault.grpc_code();
    Status::new(code, v1::Error::from(fault).message)
}

fn caller<T>(request: &Request<T>) -> Caller {
    request.extensions().get().cloned().unwrap_or_default()
}

macro_rules! service {
    ($($name:ident: $request:ident => $result:ident, $response:ident;)+) => {
        #[tonic::async_trait]
        impl ServerApi for Grpc {
            async fn batch(&self, request: Request<BatchRequest>) -> Result<Response<BatchResponse>, Status> {
                let caller = caller(&request);
                let batch = Box::pin(super::batch::run(&self.0, &caller, request.into_inner()));
                Ok(Response::new(batch.await.map_err(status)?))
            }

            $(async fn $name(&self, request: Request<v1::$request>) -> Result<Response<v1::$response>, Status> {
                let (by_status, caller) = (by_status(request.metadata()), caller(&request));
                let called = Box::pin(self.0.$name(&caller, request.into_inner())).await;
                self.0.count(stringify!($name), &called);
                let (result, error) = match called {
                    Ok(result) => (Some(result), None),
                    Err(fault) if by_status => return Err(status(fault)),
                    Err(fault) => (None, Some(fault.into())),
                };
                Ok(Response::new(v1::$response { error, result }))
            })+
        }
    };
}
each!(service);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centrifugos_clients_find_the_service() {
        let path = own_path("/centrifugal.centrifugo.api.CentrifugoApi/MapPublish");
        assert_eq!(path.as_deref(), Some("/sealwire.server.v1.ServerApi/MapPublish"));
        assert_eq!(own_path("/sealwire.server.v1.ServerApi/Publish"), None);
        assert_eq!(own_path("/api/publish"), None);
    }
}
