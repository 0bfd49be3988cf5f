//! E1 and E2: whole files over connections that are kept open, against nginx serving the very same files.

use std::time::Duration;

use anyhow::{Result, ensure};
use element_api::FileMetadata;
use sha2::{Digest, Sha256};

use super::content;
use crate::client::{Connection, request, share};
use crate::element::Element;
use crate::measure::{Meter, Sample, Spread, cpus, rates, take_turns};
use crate::nginx::Nginx;
use crate::report::{Row, Target, count, rounded};
use crate::scene::Scene;
use crate::wrk;

/// A size, and how it is fetched.
struct Case {
    name: &'static str,
    bytes: usize,
    connections: usize,
    load: Load,
    target: f64,
}

#[derive(Clone, Copy)]
enum Load {
    /// wrk for so long.
    Wrk,
    /// Our client, so many files.
    Own { files: usize, quick: usize },
}

const CASES: [Case; 5] = [
    Case {
        name: "10 KiB",
        bytes: 10 << 10,
        connections: 16,
        load: Load::Wrk,
        target: 0.35,
    },
    Case {
        name: "64 KiB",
        bytes: 64 << 10,
        connections: 16,
        load: Load::Wrk,
        target: 0.6,
    },
    Case {
        name: "1 MiB",
        bytes: 1 << 20,
        connections: 8,
        load: Load::Own {
            files: 6000,
            quick: 1500,
        },
        target: 0.9,
    },
    Case {
        name: "100 MiB",
        bytes: 100 << 20,
        connections: 8,
        load: Load::Own { files: 64, quick: 24 },
        target: 0.9,
    },
    Case {
        name: "1 GiB",
        bytes: 1 << 30,
        connections: 1,
        load: Load::Own { files: 4, quick: 2 },
        target: 0.9,
    },
];

/// A server that holds the file, and the file's address there.
struct Server {
    pid: u32,
    port: u16,
    path: String,
}

/// The element and nginx over its files.
struct Stage {
    element: Element,
    nginx: Nginx,
}

impl Stage {
    fn new(scene: &Scene) -> Result<Self> {
        let element = Element::start(scene, "download")?;
        let nginx = Nginx::start(scene, &element.storage)?;
        Ok(Self { element, nginx })
    }

    /// Element, nginx with sendfile, nginx without it: all three answer with the same bytes, which is checked.
    fn servers(&self, scene: &Scene, case: &Case) -> Result<[Server; 3]> {
        let file = self.element.store("file.bin", &content(case.bytes))?;
        let (element, nginx) = (self.element.pid(), self.nginx.pid());
        let plain = format!("/{}", file.storage_path);
        let servers = [
            (element, self.element.port, format!("/api/v1/files/{}", file.file_id)),
            (nginx, self.nginx.sendfile, plain.clone()),
            (nginx, self.nginx.copying, plain),
        ]
        .map(|(pid, port, path)| Server { pid, port, path });
        for server in &servers {
            check(scene, server, &file)?;
        }
        Ok(servers)
    }
}

fn check(scene: &Scene, server: &Server, file: &FileMetadata) -> Result<()> {
    let answer = Connection::open(server.port)?.call(&request("GET", &server.path, &scene.token, None))?;
    let checksum = e2e::tools::hex(&Sha256::digest(&answer.body));
    ensure!(
        answer.status == 200 && checksum == file.checksum,
        "{} answered {} with other bytes",
        server.path,
        answer.status
    );
    Ok(())
}

/// One turn at one server; the unit is a file.
fn turn(scene: &Scene, case: &Case, server: &Server) -> Result<Sample> {
    match case.load {
        Load::Wrk => {
            let time = scene.choose(Duration::from_secs(3), Duration::from_secs(1));
            let meter = Meter::start(Some(server.pid))?;
            let rate = wrk::requests_per_second(server.port, &server.path, &scene.token, case.connections, time)?;
            let sample = meter.stop(rate * time.as_secs_f64())?;
            Ok(Sample { rate, ..sample })
        }
        Load::Own { files, quick } => {
            let files = scene.choose(files, quick);
            let bytes = request("GET", &server.path, &scene.token, None);
            let mut meter = None;
            share(
                case.connections,
                files,
                |_| Connection::open(server.port),
                |connection, _| connection.fetch(&bytes, 200).map(drop),
                || {
                    meter = Some(Meter::start(Some(server.pid))?);
                    Ok(())
                },
            )?;
            meter.map_or_else(
                || anyhow::bail!("nothing was measured"),
                |meter| meter.stop(files as f64),
            )
        }
    }
}

/// Samples of the element, of nginx with sendfile and of nginx without.
fn contest(scene: &Scene, stage: &Stage, case: &Case) -> Result<[Vec<Sample>; 3]> {
    let servers = stage.servers(scene, case)?;
    let mut contenders = Vec::new();
    for (name, server) in ["ours", "sendfile", "copying"].into_iter().zip(&servers) {
        let run: Box<dyn FnMut() -> Result<Sample> + '_> = Box::new(move || turn(scene, case, server));
        contenders.push((name, run));
    }
    let results = take_turns(scene, case.name, &mut contenders)?;
    results
        .try_into()
        .map_err(|_| anyhow::anyhow!("a contender is missing"))
}

/// E1.
pub(super) fn throughput(scene: &Scene) -> Result<Vec<Row>> {
    let stage = Stage::new(scene)?;
    let mut rows = Vec::new();
    for case in &CASES {
        let [ours, sendfile, copying] = contest(scene, &stage, case)?;
        let median = |samples: &[Sample]| Spread::of(rates(samples)).median;
        let (better, word) = if median(&sendfile) > median(&copying) {
            (&sendfile, "with sendfile")
        } else {
            (&copying, "without sendfile")
        };
        let client = match case.load {
            Load::Wrk => "wrk",
            Load::Own { .. } => "own client",
        };
        let name = format!(
            "E1 download {}, {}",
            case.name,
            count(case.connections as u64, "connection")
        );
        let row = Row::of_rates(&name, "/s", (&ours, better), Target::AtLeast(case.target));
        let throughput = median(&ours) * case.bytes as f64 / 1e9;
        rows.push(row.with(&format!(
            "{throughput:.2} GB/s; nginx is faster {word}; load by {client}"
        )));
    }
    stage.element.discard(scene, "download")?;
    Ok(rows)
}

/// E2.
pub(super) fn cpu(scene: &Scene) -> Result<Vec<Row>> {
    let stage = Stage::new(scene)?;
    let Some(case) = CASES.iter().find(|case| case.bytes == 100 << 20) else {
        anyhow::bail!("the case of 100 MiB is missing");
    };
    let [ours, sendfile, copying] = contest(scene, &stage, case)?;
    let per_gibibyte = |samples: &[Sample]| -> Vec<f64> {
        let files = f64::from(1 << 30) / case.bytes as f64;
        cpus(samples).iter().map(|seconds| seconds * files).collect()
    };
    let name = "E2 CPU of 1 GiB downloaded, files of 100 MiB";
    let row = Row::compare(
        name,
        "s",
        &per_gibibyte(&ours),
        &per_gibibyte(&copying),
        Target::AtMost(1.2),
    );
    let sendfile = Spread::of(per_gibibyte(&sendfile)).median;
    stage.element.discard(scene, "download")?;
    Ok(vec![row.with(&format!(
        "the reference is nginx without sendfile; with it nginx takes {} s",
        rounded(sendfile)
    ))])
}
