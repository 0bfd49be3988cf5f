//! The local cluster does what a cluster does, and survives what a machine does to it.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not what they call")]

use std::time::Duration;

use e2e::command::wait_for;
use e2e::{control_plane, daemon, infra};

use crate::cluster::{CLUSTER, Namespace, alone, cluster, kubectl, shared, up};

/// Generous: only a broken cluster reaches it.
const LIMIT: Duration = Duration::from_secs(180);

/// A pod of the infra image that sleeps, with a volume when `claim` is given.
fn pod(namespace: &str, name: &str, claim: Option<&str>) {
    let volumes = claim.map_or(
        serde_json::json!([]),
        |claim| serde_json::json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]),
    );
    let mounts = claim.map_or(
        serde_json::json!([]),
        |_| serde_json::json!([{"name": "data", "mountPath": "/data"}]),
    );
    let pod = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main",
                "image": infra::IMAGE,
                "imagePullPolicy": "Never",
                "command": ["sleep", "infinity"],
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    });
    control_plane::apply(&CLUSTER, &pod.to_string()).unwrap();
    kubectl(&[
        "wait",
        "--for=condition=Ready",
        "pod",
        name,
        "-n",
        namespace,
        "--timeout=180s",
    ]);
}

fn in_pod(namespace: &str, name: &str, script: &str) -> String {
    kubectl(&["exec", "-n", namespace, name, "--", "sh", "-c", script])
}

#[test]
fn pod_finds_services_by_name_and_nothing_outside() {
    let _shared = shared();
    let namespace = Namespace::new("names");
    pod(&namespace.0, "client", None);
    let ask = |script| in_pod(&namespace.0, "client", script);
    assert!(ask("pg_isready -h postgres.artstore-infra").contains("accepting connections"));
    assert_eq!(
        ask("redis-cli -h redis.artstore-infra.svc.cluster.local ping").trim(),
        "PONG"
    );
    assert_eq!(ask("getent hosts example.org || echo unknown").trim(), "unknown");
    let routes = ask("cat /proc/net/route");
    assert!(
        !routes
            .lines()
            .any(|line| line.split_whitespace().nth(1) == Some("00000000")),
        "{routes}"
    );
}

#[test]
fn administrator_reaches_postgres_through_its_service() {
    let _shared = shared();
    let namespace = Namespace::new("postgres");
    pod(&namespace.0, "client", None);
    let field = "jsonpath={.data.password}";
    let encoded = kubectl(&[
        "get",
        "secret",
        infra::ADMIN_SECRET,
        "-n",
        infra::NAMESPACE,
        "-o",
        field,
    ]);
    let query = format!(
        "PGPASSWORD=$(echo {encoded} | base64 -d) psql -h postgres.artstore-infra -U postgres -Atc 'show server_version_num'"
    );
    assert!(in_pod(&namespace.0, "client", &query).starts_with("15"));
}

#[test]
fn claim_makes_a_volume_and_its_deletion_removes_the_files() {
    let _shared = shared();
    let namespace = Namespace::new("volume");
    let claim = serde_json::json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": namespace.0},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    });
    control_plane::apply(&CLUSTER, &claim.to_string()).unwrap();
    pod(&namespace.0, "writer", Some("data"));
    in_pod(&namespace.0, "writer", "echo kept > /data/file");
    kubectl(&["delete", "pod", "writer", "-n", &namespace.0]);
    pod(&namespace.0, "reader", Some("data"));
    assert_eq!(in_pod(&namespace.0, "reader", "cat /data/file").trim(), "kept");
    let folder = CLUSTER.at("volumes");
    let volume = kubectl(&[
        "get",
        "pvc",
        "data",
        "-n",
        &namespace.0,
        "-o",
        "jsonpath={.spec.volumeName}",
    ]);
    let on_disk = || {
        std::fs::read_dir(&folder)
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with(&volume))
    };
    assert!(on_disk());
    kubectl(&["delete", "pod", "reader", "-n", &namespace.0]);
    kubectl(&["delete", "pvc", "data", "-n", &namespace.0]);
    wait_for("the end of the volume", LIMIT, || Ok(!on_disk())).unwrap();
}

#[test]
fn killed_processes_come_back_and_pods_live_on() {
    let _alone = alone();
    let namespace = Namespace::new("killed");
    pod(&namespace.0, "survivor", None);
    for name in [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "containerd",
        "kubelet",
        "kube-proxy",
        "coredns",
        "local-path-provisioner",
    ] {
        daemon::kill_now(daemon::running(&CLUSTER, name).unwrap().unwrap()).unwrap();
    }
    up();
    let field = "jsonpath={.status.containerStatuses[0].restartCount}";
    assert_eq!(
        kubectl(&["get", "pod", "survivor", "-n", &namespace.0, "-o", field]),
        "0"
    );
    pod(&namespace.0, "newcomer", None);
    for name in ["survivor", "newcomer"] {
        wait_for("an answer in the pod", LIMIT, || {
            Ok(in_pod(&namespace.0, name, "redis-cli -h redis.artstore-infra ping || true").trim() == "PONG")
        })
        .unwrap();
    }
}

#[test]
fn services_give_their_command_two_servers_and_its_exit_code() {
    let script = "redis-cli -u $ARTSTORE_TEST_REDIS ping; psql $ARTSTORE_TEST_POSTGRES -Atc 'select 6 * 7; show fsync'; \
                  echo $ARTSTORE_TEST_REDIS; exit 7";
    let output = cluster(&["services", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("PONG\n42\non\n"), "{text}");
    let redis = text.lines().find_map(|line| line.strip_prefix("redis://")).unwrap();
    assert!(std::net::TcpStream::connect(redis).is_err());
}
