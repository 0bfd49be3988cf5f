//! Plays node and storage: binds volumes and lets pods be ready. The cluster's own controllers do the rest.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

/// Plays until it is aborted.
pub(super) async fn play(client: Client, namespace: String) {
    loop {
        bind_volumes(&client, &namespace).await;
        ready_pods(&client, &namespace).await;
        tokio::time::sleep(super::LOOK).await;
    }
}

/// A volume for each claim, bound to it and to nothing else.
async fn bind_volumes(client: &Client, namespace: &str) {
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
    let volumes = Api::<PersistentVolume>::all(client.clone());
    // A cluster that stops answering fails the test where it waits.
    let Ok(list) = claims.list(&ListParams::default()).await else {
        return;
    };
    for claim in list {
        let pending = claim
            .status
            .as_ref()
            .is_none_or(|status| status.phase.as_deref() != Some("Bound"));
        if !pending || claim.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let name = format!("{namespace}-{}", claim.uid().unwrap_or_default());
        let volume = json!({
            "metadata": {"name": name, "labels": {"artstore.dev/test": namespace}},
            "spec": {
                "capacity": {"storage": "100Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": namespace,
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": "/nonexistent"},
                "claimRef": {"namespace": namespace, "name": claim.name_any(), "uid": claim.uid()},
            },
        });
        // It may be there already, and the binding under way.
        let _ = volumes
            .create(&PostParams::default(), &serde_json::from_value(volume).unwrap())
            .await;
    }
}

async fn ready_pods(client: &Client, namespace: &str) {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let Ok(list) = pods.list(&ListParams::default()).await else {
        return;
    };
    for pod in list {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        if conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        {
            continue;
        }
        let now = k8s_openapi::jiff::Timestamp::now();
        let status = json!({"status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        }});
        // It may be gone by now.
        let _ = pods
            .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status))
            .await;
    }
}
