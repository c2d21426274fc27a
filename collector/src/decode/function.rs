//! The name of the function that sent something, from the resource's attributes.

/// Values of `cloud.platform` that stand for functions.
const FUNCTION_PLATFORMS: [&str; 7] = [
    "aws_lambda",
    "azure_functions",
    "azure.functions",
    "gcp_cloud_functions",
    "gcp_cloud_run",
    "gcp.cloud_functions",
    "gcp.cloud_run",
];

/// What the attributes of a resource say about its service and function.
#[derive(Debug, Default)]
pub(super) struct Identity<'a> {
    pub(super) service: &'a str,
    name: &'a str,
    resource_id: &'a str,
    platform: &'a str,
    is_instance: bool,
}

impl<'a> Identity<'a> {
    /// Takes note of an attribute with a text value. Of several with one key, the first counts.
    pub(super) fn note(&mut self, key: &str, value: &'a str) {
        let slot = match key {
            "service.name" => &mut self.service,
            "faas.name" => &mut self.name,
            "cloud.resource_id" | "cloud.resource.id" | "faas.id" => &mut self.resource_id,
            "cloud.platform" => &mut self.platform,
            "faas.instance" | "faas.version" => {
                self.is_instance = true;
                return;
            }
            _ => return,
        };
        if slot.is_empty() {
            *slot = value;
        }
    }

    /// The function's name, if the resource is one.
    pub(super) fn function(&self) -> Option<&'a str> {
        if !self.name.is_empty() {
            return Some(self.name);
        }
        if let Some(name) = function_of_id(self.resource_id) {
            return Some(name);
        }
        let is_function = self.is_instance || FUNCTION_PLATFORMS.contains(&self.platform);
        if is_function && !self.service.is_empty() { Some(self.service) } else { None }
    }
}

/// The function's name in a Lambda ARN, or in Azure's or Google's id of a function.
pub(super) fn function_of_id(id: &str) -> Option<&str> {
    let name = if let Some((_, rest)) = id.split_once(":function:") {
        // A version or an alias may follow.
        rest.split(':').next()
    } else if let Some((_, rest)) = id.rsplit_once("/functions/") {
        rest.split('/').next()
    } else if id.starts_with("//run.googleapis.com/") {
        id.rsplit_once("/services/").and_then(|(_, rest)| rest.split('/').next())
    } else {
        None
    };
    name.filter(|n| !n.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_functions() {
        let check = |id: &str, expected: Option<&str>| assert_eq!(function_of_id(id), expected, "{id}");
        check("arn:aws:lambda:eu-west-1:123456789012:function:orders", Some("orders"));
        check("arn:aws:lambda:eu-west-1:123456789012:function:orders:live", Some("orders"));
        check("arn:aws:sqs:eu-west-1:123456789012:orders", None);
        let azure = "/subscriptions/1/resourceGroups/g/providers/Microsoft.Web/sites/app/functions/resize";
        check(azure, Some("resize"));
        check("//cloudfunctions.googleapis.com/projects/p/locations/l/functions/thumbs", Some("thumbs"));
        check("//run.googleapis.com/projects/p/locations/l/services/api", Some("api"));
        check("arn:aws:lambda:x:1:function:", None);
        check("", None);
    }

    #[test]
    fn what_makes_a_resource_a_function() {
        let check = |attributes: &[(&str, &'static str)], expected: Option<&str>| {
            let mut identity = Identity::default();
            attributes.iter().for_each(|(k, v)| identity.note(k, v));
            assert_eq!(identity.function(), expected, "{attributes:?}");
        };
        check(&[("service.name", "shop")], None);
        check(&[("service.name", "shop"), ("faas.name", "orders")], Some("orders"));
        check(&[("service.name", "shop"), ("cloud.platform", "aws_lambda")], Some("shop"));
        check(&[("service.name", "shop"), ("faas.instance", "i-1")], Some("shop"));
        check(&[("service.name", "shop"), ("cloud.platform", "aws_ec2")], None);
        check(&[("cloud.resource_id", "arn:aws:lambda:r:1:function:f:1"), ("service.name", "s")], Some("f"));
        check(&[("cloud.platform", "aws_lambda")], None);
    }
}
