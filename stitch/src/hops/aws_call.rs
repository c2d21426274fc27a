//! Which call to which AWS service a span is.
//!
//! The SDKs' instrumentations write `rpc.service` and `rpc.method`, or put both into
//! `rpc.method` (`S3/PutObject`), or used to have names of their own; services are
//! called by their ids, with or without "Amazon" before them.

use crate::span::Span;

/// A service on which hops begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Lambda,
    Sqs,
    Sns,
    EventBridge,
    StepFunctions,
    S3,
    /// Any other.
    Other,
}

/// What the SDKs call them (service ids of Python, Node, Go and Java 2; class names of Java 1 and .NET).
const SERVICES: &[(&str, Service)] = &[
    ("lambda", Service::Lambda),
    ("sqs", Service::Sqs),
    ("sns", Service::Sns),
    ("eventbridge", Service::EventBridge),
    ("cloudwatchevents", Service::EventBridge),
    ("sfn", Service::StepFunctions),
    ("stepfunctions", Service::StepFunctions),
    ("s3", Service::S3),
];

/// A call to an AWS service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AwsCall<'a> {
    pub(super) service: Service,
    pub(super) operation: &'a str,
}

impl<'a> AwsCall<'a> {
    /// The call that the span is, if it is one.
    pub(super) fn of(span: &Span<'a>) -> Option<Self> {
        let of = |key: &str| span.attributes.text(key);
        if of("rpc.system").is_some_and(|system| system != "aws-api") {
            return None;
        }
        if let Some(method) = of("rpc.method") {
            if let Some((service, operation)) = method.split_once('/') {
                return Self::named(service, operation);
            }
            if let Some(service) = of("rpc.service") {
                return Self::named(service, method);
            }
        }
        if let (Some(service), Some(operation)) = (of("aws.service"), of("aws.operation")) {
            return Self::named(service, operation);
        }
        let (service, operation) = span.name.split_once(['.', '/'])?;
        Self::named(service, operation).filter(|call| span.kind.is_out() && call.service != Service::Other)
    }

    fn named(service: &str, operation: &'a str) -> Option<Self> {
        let name = ["Amazon", "AWS"].iter().find_map(|vendor| service.strip_prefix(vendor)).unwrap_or(service);
        let letters = name.bytes().filter(|b| !b.is_ascii_whitespace()).map(|b| b.to_ascii_lowercase());
        let known = SERVICES.iter().find(|(known, _)| letters.clone().eq(known.bytes()));
        let service = known.map_or(Service::Other, |(_, service)| *service);
        Some(AwsCall { service, operation }).filter(|call| !call.operation.is_empty())
    }

    /// The operation, if it is one of this service.
    pub(super) fn operation_of(span: &Span<'a>, service: Service) -> Option<&'a str> {
        Self::of(span).filter(|call| call.service == service).map(|call| call.operation)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Probe;
    use super::*;
    use crate::span::Value::Text;

    #[track_caller]
    fn check(name: &str, attributes: &[(&str, &str)], expected: Option<(Service, &str)>) {
        let attributes: Vec<_> = attributes.iter().map(|(key, value)| (*key, Text(value))).collect();
        Probe::client(&attributes).name(name).with(|span| {
            assert_eq!(AwsCall::of(span).map(|call| (call.service, call.operation)), expected);
        });
    }

    #[test]
    fn by_attributes_old_and_new() {
        let put = Some((Service::S3, "PutObject"));
        for service in ["S3", "AmazonS3", "Amazon S3"] {
            check("x", &[("rpc.system", "aws-api"), ("rpc.service", service), ("rpc.method", "PutObject")], put);
        }
        check("x", &[("rpc.method", "S3/PutObject")], put);
        check("x", &[("aws.service", "S3"), ("aws.operation", "PutObject")], put);
        check("x", &[("rpc.service", "AWSLambda"), ("rpc.method", "Invoke")], Some((Service::Lambda, "Invoke")));
        check(
            "x",
            &[("rpc.service", "SFN"), ("rpc.method", "StartExecution")],
            Some((Service::StepFunctions, "StartExecution")),
        );
        check("x", &[("rpc.service", "KMS"), ("rpc.method", "Encrypt")], Some((Service::Other, "Encrypt")));
    }

    #[test]
    fn by_the_name() {
        check("Lambda.Invoke", &[], Some((Service::Lambda, "Invoke")));
        check("S3/PutObject", &[], Some((Service::S3, "PutObject")));
        check("shop.Orders", &[], None);
        check("Lambda", &[], None);
    }

    #[test]
    fn not_what_is_called_by_another_protocol() {
        check("x", &[("rpc.system", "grpc"), ("rpc.service", "Lambda"), ("rpc.method", "Invoke")], None);
    }
}
