//! A PostgreSQL, a Redis and an S3 server for one command: on loopback, in a temporary folder, gone with the command.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::command::{command, run, run_any, wait_for};
use crate::layout::{KUBECONFIG_VARIABLE, Layout};
use crate::packages;
use crate::schemathesis;
use crate::step::step;
use crate::tools;

/// Debian's programs of PostgreSQL 15.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// How long a server may take to answer on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// Runs the command with `ARTSTORE_TEST_POSTGRES`, `ARTSTORE_TEST_REDIS`, `ARTSTORE_TEST_S3` and `ARTSTORE_TEST_SCHEMATHESIS` set,
/// also `ARTSTORE_KUBECONFIG` when there is a cluster, and gives its exit code back.
pub fn run_with_services(layout: &Layout, arguments: &[String]) -> Result<ExitCode> {
    packages::ensure(&[packages::SERVICES])?;
    let versitygw = tools::VERSITYGW.ensure(layout)?;
    let schemathesis = schemathesis::ensure(layout)?;
    let folder = tempfile::Builder::new().prefix("artstore-services-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    // From here on a signal ends the command first; the servers follow when it is gone.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (_postgres, postgres_url) = step("start PostgreSQL for the tests", || start_postgres(folder.path()))?;
    let (_redis, redis_url) = step("start Redis for the tests", || start_redis(folder.path()))?;
    let (_s3, s3_url) = step("start an S3 server for the tests", || {
        start_s3(folder.path(), &versitygw)
    })?;
    let (program, rest) = arguments.split_first().context("no command was given")?;
    let mut command = Command::new(program);
    command
        .args(rest)
        .env("ARTSTORE_TEST_POSTGRES", postgres_url)
        .env("ARTSTORE_TEST_REDIS", redis_url)
        .env("ARTSTORE_TEST_S3", s3_url)
        .env("ARTSTORE_TEST_SCHEMATHESIS", schemathesis);
    if layout.existing_cluster().is_none() && layout.kubeconfig().exists() {
        command.env(KUBECONFIG_VARIABLE, layout.kubeconfig());
    }
    let mut child = command.spawn().with_context(|| format!("failed to run {program:?}"))?;
    let target = Pid::from_child(&child);
    let handle = signals.handle();
    let forwarder = std::thread::spawn(move || {
        for _ in &mut signals {
            // A command that is gone needs no signal any more.
            let _gone = kill_process(target, Signal::TERM);
        }
    });
    let status = child.wait();
    handle.close();
    forwarder
        .join()
        .map_err(|_| anyhow::anyhow!("the signal thread panicked"))?;
    let code = status.context("failed to wait for the command")?.code().unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// A server that ends with the value that holds it.
struct Server {
    child: Child,
    stop: Signal,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The child is ours and not yet waited for, so its id cannot have gone to anybody else.
        let _ended = kill_process(Pid::from_child(&self.child), self.stop);
        let _status = self.child.wait();
    }
}

fn start_postgres(folder: &Path) -> Result<(Server, String)> {
    let password = run(&mut command("openssl", ["rand", "-hex", "16"]))?.trim().to_owned();
    let data = folder.join("postgres");
    fs::create_dir(&data)?;
    let password_file = data.join("password");
    fs::write(&password_file, &password)?;
    let identity = identity("postgres")?;
    if let Some((user, group)) = identity {
        chown(&data, Some(user), Some(group))?;
        chown(&password_file, Some(user), Some(group))?;
    }
    let cluster = data.join("data");
    let mut initdb = as_user(identity, &format!("{POSTGRES}/initdb"), "TERM");
    initdb.args([
        "--username=postgres",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
    ]);
    run(initdb
        .arg("--pwfile")
        .arg(&password_file)
        .arg("--pgdata")
        .arg(&cluster)
        .current_dir(&data))?;
    fs::remove_file(&password_file)?;
    let port = free_port()?;
    let mut postgres = as_user(identity, &format!("{POSTGRES}/postgres"), "INT");
    postgres
        .arg("-D")
        .arg(&cluster)
        .arg("-k")
        .arg(&data)
        .args(["-p", &port.to_string()]);
    postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=300"]);
    // SIGINT is PostgreSQL's fast shutdown.
    let server = start(&mut postgres, &folder.join("postgres.log"), Signal::INT)?;
    let port = port.to_string();
    let server = wait_until(server, &folder.join("postgres.log"), || {
        let answer = run_any(&mut command(
            format!("{POSTGRES}/pg_isready"),
            ["-q", "-h", "127.0.0.1", "-p", &port],
        ))?;
        Ok(answer.status.success())
    })?;
    Ok((
        server,
        format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres"),
    ))
}

fn start_redis(folder: &Path) -> Result<(Server, String)> {
    let port = free_port()?.to_string();
    let mut redis = as_user(None, "redis-server", "TERM");
    redis
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port,
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ])
        .arg(folder);
    let log = folder.join("redis.log");
    let server = start(&mut redis, &log, Signal::TERM)?;
    let server = wait_until(server, &log, || {
        let answer = run_any(&mut command("redis-cli", ["-h", "127.0.0.1", "-p", &port, "ping"]))?;
        Ok(answer.stdout.starts_with(b"PONG"))
    })?;
    Ok((server, format!("redis://127.0.0.1:{port}")))
}

/// The bucket every test has a folder of its own in.
const BUCKET: &str = "artstore";

/// versitygw over a folder, with one bucket: `http://KEY:SECRET@HOST:PORT/BUCKET`.
fn start_s3(folder: &Path, program: &Path) -> Result<(Server, String)> {
    let secret = run(&mut command("openssl", ["rand", "-hex", "16"]))?.trim().to_owned();
    // Attributes apart from the objects: not every file system of a temporary folder keeps them.
    let (root, sidecar) = (folder.join("s3/objects"), folder.join("s3/attributes"));
    fs::create_dir_all(root.join(BUCKET))?;
    fs::create_dir_all(&sidecar)?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut versitygw = as_user(None, &program.display().to_string(), "TERM");
    versitygw
        .env("ROOT_ACCESS_KEY", "artstore")
        .env("ROOT_SECRET_KEY", &secret)
        .args([
            "--port",
            &address,
            "--health",
            "/health",
            "--quiet",
            "posix",
            "--sidecar",
        ])
        .arg(&sidecar)
        .arg(&root);
    let log = folder.join("s3.log");
    let server = start(&mut versitygw, &log, Signal::TERM)?;
    let server = wait_until(server, &log, || Ok(TcpStream::connect(&address).is_ok()))?;
    Ok((server, format!("http://artstore:{secret}@{address}/{BUCKET}")))
}

/// A command that ends when this process does, even by kill -9, and that runs as another user when one is given.
fn as_user(identity: Option<(u32, u32)>, program: &str, on_death: &str) -> Command {
    let mut guarded = command("setpriv", [format!("--pdeathsig={on_death}")]);
    if let Some((user, group)) = identity {
        guarded.args([
            format!("--reuid={user}"),
            format!("--regid={group}"),
            "--init-groups".into(),
        ]);
    }
    guarded.arg(program);
    guarded
}

fn start(command: &mut Command, log: &Path, stop: Signal) -> Result<Server> {
    let log = fs::File::create(log)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok(Server { child, stop })
}

fn wait_until(mut server: Server, log: &Path, mut ready: impl FnMut() -> Result<bool>) -> Result<Server> {
    let mut ended = None;
    wait_for("an answer of the server", READY_LIMIT, || {
        ended = server.child.try_wait()?;
        Ok(ended.is_some() || ready()?)
    })?;
    if let Some(status) = ended {
        bail!(
            "the server ended: {status}\n{}",
            fs::read_to_string(log).unwrap_or_default()
        );
    }
    Ok(server)
}

/// The user and group to run as: PostgreSQL refuses to run as root.
fn identity(user: &str) -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let number = |flag: &str| -> Result<u32> {
        run(&mut command("id", [flag, user]))?
            .trim()
            .parse()
            .with_context(|| format!("failed to read {flag}"))
    };
    Ok(Some((number("-u")?, number("-g")?)))
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")
        .context("failed to find a free port")?
        .local_addr()?
        .port())
}
