//! Schemas that the types themselves cannot say: embedded core types without their prose, and shared patterns.

use element_api::Mode;
use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::generate::SchemaGenerator;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, json_schema};

/// Whole bytes as Kubernetes writes them. No sign, fraction or exponent: what is written is what is stored.
pub(crate) const BYTES: &str = "^[1-9][0-9]*(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$";
/// A host name or address.
pub(crate) const HOST: &str = "^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$";
/// An object's name.
pub(crate) const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// A key of a Secret.
pub(crate) const SECRET_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// A PostgreSQL identifier that needs no quoting.
pub(crate) const IDENTIFIER: &str = "^[a-z_][a-z0-9_]*$";
/// Text without blanks.
pub(crate) const NO_BLANKS: &str = "^\\S+$";

/// The modes of `element-api`, which has no schema of its own.
pub(crate) fn mode(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": Mode::ALL.map(Mode::as_str)})
}

/// Affinity as in a pod.
pub(crate) fn affinity(generator: &mut SchemaGenerator) -> Schema {
    without_prose::<Affinity>(generator)
}

/// Tolerations as in a pod.
pub(crate) fn tolerations(generator: &mut SchemaGenerator) -> Schema {
    list(without_prose::<Toleration>(generator))
}

/// Topology spread constraints as in a pod.
pub(crate) fn topology_spread(generator: &mut SchemaGenerator) -> Schema {
    list(without_prose::<TopologySpreadConstraint>(generator))
}

/// Resources as in a container.
pub(crate) fn resources(generator: &mut SchemaGenerator) -> Schema {
    without_prose::<ResourceRequirements>(generator)
}

/// Conditions, one per type.
pub(crate) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let condition = without_prose::<Condition>(generator);
    json_schema!({
        "type": "array",
        "items": condition,
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    })
}

fn list(items: Schema) -> Schema {
    json_schema!({"type": "array", "items": items, "maxItems": 32, "x-kubernetes-list-type": "atomic"})
}

/// The schema of a core type with its descriptions taken out: they are in the Kubernetes documentation, and kept here they
/// would take a CRD over its size limit.
fn without_prose<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    Prose.transform(&mut schema);
    schema
}

struct Prose;

impl Transform for Prose {
    fn transform(&mut self, schema: &mut Schema) {
        schema.remove("description");
        transform_subschemas(self, schema);
    }
}
