//! The reference for reads: nginx over the element's own files, with sendfile on one port and without it on another.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::command::wait_for;

use crate::client::{Connection, request};
use crate::element::free_port;
use crate::scene::{Scene, guarded};

/// nginx with two servers of the same files.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) sendfile: u16,
    pub(crate) copying: u16,
}

impl Nginx {
    pub(crate) fn start(scene: &Scene, root: &Path) -> Result<Self> {
        let folder = scene.fresh_folder("nginx")?;
        let (sendfile, copying) = (free_port()?, free_port()?);
        let path = folder.join("nginx.conf");
        fs::write(&path, configuration(&folder, root, sendfile, copying))?;
        let child = guarded("/usr/sbin/nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-e")
            .arg(folder.join("error.log"))
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("failed to start nginx")?;
        let nginx = Self {
            child,
            sendfile,
            copying,
        };
        wait_for("an answer of nginx", Duration::from_secs(30), || {
            Ok(Connection::open(copying)?.call(&request("GET", "/", "-", None))?.status > 0)
        })
        .with_context(|| fs::read_to_string(folder.join("error.log")).unwrap_or_default())?;
        Ok(nginx)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master takes its workers along.
        let _ended = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        );
        let _status = self.child.wait();
    }
}

/// A worker for each core, no access log, and one output buffer of 256 KiB where nothing is sent by the kernel itself.
fn configuration(folder: &Path, root: &Path, sendfile: u16, copying: u16) -> String {
    let (folder, root) = (folder.display(), root.display());
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let server = |port: u16, sendfile: &str| {
        format!(
            "server {{ listen 127.0.0.1:{port} reuseport; sendfile {sendfile}; output_buffers 1 256k; root {root}; \
             default_type application/octet-stream; location / {{ }} }}"
        )
    };
    format!(
        "{user} daemon off; worker_processes auto; pid {folder}/nginx.pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s; \
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; \
         uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n{}\n{}\n}}\n",
        server(sendfile, "on"),
        server(copying, "off"),
    )
}
