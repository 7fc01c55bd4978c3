//! The two dialects of xDS: all that a client wants with each request, or only what changed. Pure.

use std::collections::BTreeSet;

use sealwire_proto::secret::{
    Any, DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Node, Resource,
    RpcStatus, SECRET_TYPE,
};

/// What a request answers: a response by its nonce, and why it was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) nonce: String,
    pub(super) refusal: Option<String>,
}

/// One secret on its way.
pub(super) struct Outgoing {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) nonce: String,
    pub(super) secret: Any,
}

/// How requests are read and responses are written.
pub(super) trait Dialect: Send + Sync + 'static {
    type Request: Send + Sync + 'static;
    type Response: Send + 'static;

    fn node(request: &Self::Request) -> Option<&Node>;
    fn type_url(request: &Self::Request) -> &str;
    /// What is asked for after this request, by what was before.
    fn names(request: &Self::Request, before: &BTreeSet<String>) -> BTreeSet<String>;
    fn answer(request: &Self::Request) -> Option<Answer>;
    fn response(outgoing: Outgoing) -> Self::Response;
}

/// `StreamSecrets`
pub(super) struct StateOfTheWorld;

impl Dialect for StateOfTheWorld {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn node(request: &DiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &DiscoveryRequest) -> &str {
        &request.type_url
    }

    fn names(request: &DiscoveryRequest, _: &BTreeSet<String>) -> BTreeSet<String> {
        request.resource_names.iter().cloned().collect()
    }

    fn answer(request: &DiscoveryRequest) -> Option<Answer> {
        answer(&request.response_nonce, request.error_detail.as_ref())
    }

    fn response(outgoing: Outgoing) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: outgoing.version,
            resources: vec![outgoing.secret],
            type_url: SECRET_TYPE.to_owned(),
            nonce: outgoing.nonce,
        }
    }
}

/// `DeltaSecrets`
pub(super) struct Delta;

impl Dialect for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn node(request: &DeltaDiscoveryRequest) -> Option<&Node> {
        request.node.as_ref()
    }

    fn type_url(request: &DeltaDiscoveryRequest) -> &str {
        &request.type_url
    }

    fn names(request: &DeltaDiscoveryRequest, before: &BTreeSet<String>) -> BTreeSet<String> {
        let mut names = before.clone();
        names.extend(request.resource_names_subscribe.iter().cloned());
        names.retain(|name| !request.resource_names_unsubscribe.contains(name));
        names
    }

    fn answer(request: &DeltaDiscoveryRequest) -> Option<Answer> {
        answer(&request.response_nonce, request.error_detail.as_ref())
    }

    fn response(outgoing: Outgoing) -> DeltaDiscoveryResponse {
        let Outgoing { name, version, nonce, secret } = outgoing;
        DeltaDiscoveryResponse {
            system_version_info: version.clone(),
            resources: vec![Resource { version, resource: Some(secret), name }],
            type_url: SECRET_TYPE.to_owned(),
            nonce,
            removed_resources: Vec::new(),
        }
    }
}

fn answer(nonce: &str, error: Option<&RpcStatus>) -> Option<Answer> {
    let refusal = error.map(|error| error.message.clone());
    (!nonce.is_empty()).then(|| Answer { nonce: nonce.to_owned(), refusal })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_delta_changes_what_is_asked_for() {
        let request = DeltaDiscoveryRequest {
            resource_names_subscribe: vec!["b".to_owned(), "c".to_owned()],
            resource_names_unsubscribe: vec!["a".to_owned()],
            ..DeltaDiscoveryRequest::default()
        };
        assert_eq!(Delta::names(&request, &names(&["a", "b"])), names(&["b", "c"]));
        let request =
            DiscoveryRequest { resource_names: vec!["c".to_owned()], ..DiscoveryRequest::default() };
        assert_eq!(StateOfTheWorld::names(&request, &names(&["a", "b"])), names(&["c"]));
    }

    #[test]
    fn without_a_nonce_nothing_is_answered() {
        let mut request = DiscoveryRequest::default();
        assert_eq!(StateOfTheWorld::answer(&request), None);
        request.response_nonce = "3".to_owned();
        let ack = Answer { nonce: "3".to_owned(), refusal: None };
        assert_eq!(StateOfTheWorld::answer(&request), Some(ack.clone()));
        request.error_detail = Some(RpcStatus { code: 13, message: "no".to_owned() });
        let nack = Answer { refusal: Some("no".to_owned()), ..ack };
        assert_eq!(StateOfTheWorld::answer(&request), Some(nack));
    }
}
