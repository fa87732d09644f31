//! Images for the tests, made on the spot from Debian's packages.
//!
//! | name | content |
//! | --- | --- |
//! | `busybox` | busybox-static with a link per applet, passwd and group |
//! | `ubuntu:18.04` | a minimal Debian with apt and bash, by mmdebstrap: stands in for the name |
//! | `httpd` | Apache from Debian; the pages in `/usr/local/apache2/htdocs`, as in the image of that name |
//! | `tomcat` | Debian's tomcat10 in the long form (`HOIST_E2E_LONG=1`), else a small web server in the same layout |
//! | `mariadb`, `wordpress` | Debian's, in the long form only; they understand some of the well-known images' variables |
//!
//! What takes long is made once and kept in [`programs::cache`], by the list of packages.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::registry::{Pushed, Registry};
use crate::{programs, tar};

/// `sha256:` and the hexadecimal digest of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    text(Sha256::new_with_prefix(bytes))
}

fn text(hash: Sha256) -> String {
    hash.finalize().iter().fold("sha256:".to_string(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// A gzip-compressed layer.
#[derive(Clone, Debug)]
pub struct Layer {
    pub digest: String,
    pub diff_id: String,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Memory(Arc<Vec<u8>>),
    File(PathBuf),
}

impl Layer {
    /// From an uncompressed archive.
    pub fn of_tar(tar: &[u8]) -> Layer {
        Layer::of_blob(tar::gzip(tar), digest(tar))
    }

    /// From the blob as it is, with the diffID that the config is to claim.
    pub fn of_blob(blob: Vec<u8>, diff_id: String) -> Layer {
        Layer { digest: digest(&blob), diff_id, body: Body::Memory(Arc::new(blob)) }
    }

    /// Made once and kept in the cache under `name`; `make` gives the uncompressed archive.
    pub fn cached(name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Layer> {
        let cache = programs::cache();
        std::fs::create_dir_all(&cache)?;
        let blob = cache.join(format!("{name}.tar.gz"));
        if let Some(layer) = Layer::from_cache(&blob)? {
            return Ok(layer);
        }
        let layer = Layer::of_tar(&make());
        std::fs::write(&blob, layer.read()?)?;
        layer.note(&blob)?;
        Ok(Layer { body: Body::File(blob), ..layer })
    }

    fn from_cache(blob: &Path) -> Result<Option<Layer>> {
        let Ok(text) = std::fs::read_to_string(blob.with_extension("json")) else { return Ok(None) };
        let note: Value = serde_json::from_str(&text)?;
        let field = |name: &str| note[name].as_str().map(str::to_string).context("damaged note in the cache");
        if !blob.is_file() {
            return Ok(None);
        }
        Ok(Some(Layer { digest: field("digest")?, diff_id: field("diff_id")?, body: Body::File(blob.to_path_buf()) }))
    }

    /// Written last: a blob without its note is made again.
    fn note(&self, blob: &Path) -> Result<()> {
        let note = json!({"digest": self.digest, "diff_id": self.diff_id});
        Ok(std::fs::write(blob.with_extension("json"), note.to_string())?)
    }

    /// Size of the compressed blob, and a reader of it.
    pub fn open(&self) -> Result<(u64, Box<dyn Read + '_>)> {
        Ok(match &self.body {
            Body::Memory(bytes) => (bytes.len() as u64, Box::new(bytes.as_slice())),
            Body::File(path) => {
                let file = File::open(path).with_context(|| path.display().to_string())?;
                (file.metadata()?.len(), Box::new(file))
            }
        })
    }

    /// The compressed blob.
    pub fn read(&self) -> Result<Vec<u8>> {
        let (_, mut reader) = self.open()?;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Layers, lowest first, and the `config` part of the image configuration.
#[derive(Clone, Debug)]
pub struct Image {
    pub layers: Vec<Layer>,
    pub config: Value,
    pub architecture: &'static str,
}

impl Image {
    pub fn new(layers: Vec<Layer>, config: Value) -> Image {
        Image { layers, config, architecture: architecture() }
    }

    /// The same image with another layer on top.
    pub fn with_layer(&self, layer: Layer) -> Image {
        let mut image = self.clone();
        image.layers.push(layer);
        image
    }

    /// The same image with some fields of `config` replaced.
    pub fn with_config(&self, fields: Value) -> Image {
        let mut image = self.clone();
        if let (Some(config), Some(fields)) = (image.config.as_object_mut(), fields.as_object()) {
            config.extend(fields.clone());
        }
        image
    }

    /// The same image, said to be for another architecture.
    pub fn for_architecture(&self, architecture: &'static str) -> Image {
        Image { architecture, ..self.clone() }
    }

    /// The image configuration's bytes; their digest is the image's id.
    pub fn config_bytes(&self) -> Vec<u8> {
        let diff_ids: Vec<&str> = self.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let history: Vec<Value> = (0..self.layers.len())
            .map(|n| json!({"created": CREATED, "created_by": format!("layer {n} of the test image")}))
            .collect();
        json!({
            "architecture": self.architecture, "os": "linux", "created": CREATED, "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
        })
        .to_string()
        .into_bytes()
    }
}

const CREATED: &str = "2023-11-14T22:13:20Z";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// This machine's architecture in the words of images.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Makes sure that the registry serves `name:tag` under Docker Hub's path for it.
pub fn ensure(registry: &Registry, name: &str) -> Result<Pushed> {
    let (image, tag) = match name {
        "busybox" => (busybox()?, "latest"),
        "ubuntu" | "ubuntu:18.04" => (debian()?, "18.04"),
        "httpd" => (httpd()?, "latest"),
        "tomcat" => (tomcat()?, "latest"),
        "mariadb" => (mariadb()?, "latest"),
        "wordpress" => (wordpress()?, "latest"),
        other => bail!("no test image is called {other}"),
    };
    let repository = name.split(':').next().unwrap_or(name);
    registry.push(&format!("library/{repository}"), tag, &image)
}

/// Makes what takes long, so that no test has to wait for it. Needs the machine's package sources the first time.
pub fn prepare() -> Result<()> {
    busybox()?;
    debian()?;
    httpd()?;
    tomcat()?;
    Ok(())
}

/// The busybox program of this machine, which has to be the static one.
fn busybox_program() -> Result<Vec<u8>> {
    let path = programs::need("busybox", "busybox-static")?;
    let bytes = std::fs::read(&path)?;
    if bytes[..bytes.len().min(4096)].windows(8).any(|window| window == b"ld-linux") {
        bail!("{} is linked dynamically; install the Debian package busybox-static", path.display());
    }
    Ok(bytes)
}

/// The root file system of the busybox image as an archive: also what the demonstration imports.
pub fn busybox_tar() -> Result<Vec<u8>> {
    let program = busybox_program()?;
    let list = Command::new(programs::need("busybox", "busybox-static")?).arg("--list").output()?;
    let mut archive = tar::Builder::new();
    for (dir, mode) in [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("var", 0o755),
        ("var/spool", 0o755),
    ] {
        archive.directory(dir, mode);
    }
    archive.file("bin/busybox", 0o755, &program);
    for applet in String::from_utf8(list.stdout)?.lines().filter(|applet| *applet != "busybox") {
        archive.hard_link(&format!("bin/{applet}"), 0o755, "bin/busybox");
    }
    archive.symlink("usr/bin", "../bin").symlink("sbin", "bin");
    archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
          www:x:33:33:www:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    );
    archive.file(
        "etc/group",
        0o644,
        b"root:x:0:\ndaemon:x:1:\nadm:x:4:www\nwww:x:33:\nstaff:x:50:www,nobody\nnogroup:x:65534:\n",
    );
    Ok(archive.finish())
}

pub fn busybox() -> Result<Image> {
    static MADE: std::sync::OnceLock<Layer> = std::sync::OnceLock::new();
    let layer = match MADE.get() {
        Some(layer) => layer.clone(),
        None => {
            let layer = Layer::of_tar(&busybox_tar()?);
            MADE.get_or_init(|| layer).clone()
        }
    };
    Ok(Image::new(vec![layer], json!({"Env": [PATH], "Cmd": ["sh"]})))
}

/// Stands in for `ubuntu:18.04`.
pub fn debian() -> Result<Image> {
    Ok(Image::new(vec![debian_layer()?], json!({"Env": [PATH], "Cmd": ["/bin/bash"]})))
}

fn debian_layer() -> Result<Layer> {
    debootstrap("debian", "minbase", &["ca-certificates"])
}

pub fn httpd() -> Result<Image> {
    let base = debootstrap("httpd", "essential", &["apache2"])?;
    let mut own = tar::Builder::new();
    own.file(
        "usr/local/bin/httpd-foreground",
        0o755,
        b"#!/bin/sh\nset -e\n. /etc/apache2/envvars\nmkdir -p /run/apache2 /run/lock/apache2 /var/log/apache2\n\
          rm -f /run/apache2/apache2.pid\nexec apache2 -DFOREGROUND \"$@\"\n",
    );
    own.directory("usr/local/apache2", 0o755).directory("usr/local/apache2/htdocs", 0o755);
    own.file("usr/local/apache2/htdocs/index.html", 0o644, b"<html><body><h1>It works!</h1></body></html>\n");
    own.file(
        "etc/apache2/sites-enabled/000-default.conf",
        0o644,
        b"ServerName localhost\nErrorLog /proc/self/fd/2\n<VirtualHost *:80>\n  DocumentRoot /usr/local/apache2/htdocs\n  \
          CustomLog /proc/self/fd/1 combined\n</VirtualHost>\n<Directory /usr/local/apache2/htdocs>\n  \
          Require all granted\n</Directory>\n",
    );
    let config = json!({
        "Env": [PATH, "HTTPD_PREFIX=/usr/local/apache2"], "Cmd": ["httpd-foreground"],
        "WorkingDir": "/usr/local/apache2", "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGWINCH",
    });
    Ok(Image::new(vec![base, Layer::of_tar(&own.finish())], config))
}

/// Whether the long form of the tests was asked for.
pub fn long_form() -> bool {
    std::env::var_os("HOIST_E2E_LONG").is_some_and(|value| value == "1")
}

/// As in the well-known image: `webapps` is empty, the pages are in `webapps.dist`.
pub fn tomcat() -> Result<Image> {
    let mut own = tar::Builder::new();
    if long_form() {
        let base = debootstrap("tomcat", "essential", &["tomcat10"])?;
        own.symlink("usr/local/tomcat", "/var/lib/tomcat10");
        own.file("var/lib/tomcat10/webapps/.wh.ROOT", 0o644, b"");
        own.directory("var/lib/tomcat10/webapps.dist", 0o755).directory("var/lib/tomcat10/webapps.dist/ROOT", 0o755);
        own.file("var/lib/tomcat10/webapps.dist/ROOT/index.html", 0o644, b"<h1>Apache Tomcat</h1>\n");
        let config = json!({
            "Env": [PATH, "CATALINA_HOME=/usr/share/tomcat10", "CATALINA_BASE=/var/lib/tomcat10", "JAVA_OPTS=-Xmx128m"],
            "Cmd": ["/usr/share/tomcat10/bin/catalina.sh", "run"], "WorkingDir": "/var/lib/tomcat10",
            "ExposedPorts": {"8080/tcp": {}},
        });
        return Ok(Image::new(vec![base, Layer::of_tar(&own.finish())], config));
    }
    own.file("usr/local/bin/busybox", 0o755, &busybox_program()?);
    own.directory("usr/local/tomcat", 0o755).directory("usr/local/tomcat/webapps", 0o755);
    own.directory("usr/local/tomcat/webapps.dist", 0o755).directory("usr/local/tomcat/webapps.dist/ROOT", 0o755);
    own.file("usr/local/tomcat/webapps.dist/ROOT/index.html", 0o644, b"<h1>Apache Tomcat</h1>\n");
    own.symlink("usr/local/tomcat/index.html", "webapps/ROOT/index.html");
    let config = json!({
        "Env": [PATH], "Cmd": ["busybox", "httpd", "-f", "-v", "-p", "8080", "-h", "/usr/local/tomcat"],
        "WorkingDir": "/usr/local/tomcat", "ExposedPorts": {"8080/tcp": {}},
    });
    Ok(Image::new(vec![debian_layer()?, Layer::of_tar(&own.finish())], config))
}

/// MariaDB with a database and a user that variables name, made at the first start.
pub fn mariadb() -> Result<Image> {
    const ENTRY: &str = r#"#!/bin/sh
set -e
mkdir -p /run/mysqld
chown mysql:mysql /run/mysqld /var/lib/mysql
if [ ! -d "/var/lib/mysql/$MARIADB_DATABASE" ]; then
    # What the package has set up is not this database's.
    find /var/lib/mysql -mindepth 1 -delete
    mariadb-install-db --user=mysql --skip-test-db >/dev/null
    printf '%s\n' "CREATE DATABASE $MARIADB_DATABASE;"         "CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '$MARIADB_PASSWORD';"         "GRANT ALL ON $MARIADB_DATABASE.* TO '$MARIADB_USER'@'%';" >/run/mysqld/first.sql
    set -- --init-file=/run/mysqld/first.sql
fi
exec mariadbd --user=mysql --bind-address=0.0.0.0 "$@"
"#;
    let base = debootstrap("mariadb", "essential", &["mariadb-server"])?;
    let mut own = tar::Builder::new();
    own.file("usr/local/bin/entry", 0o755, ENTRY.as_bytes());
    let config = json!({
        "Env": [PATH], "Entrypoint": ["/usr/local/bin/entry"], "ExposedPorts": {"3306/tcp": {}},
        "Volumes": {"/var/lib/mysql": {}},
    });
    Ok(Image::new(vec![base, Layer::of_tar(&own.finish())], config))
}

/// WordPress below Apache, set up by the variables of the well-known image.
pub fn wordpress() -> Result<Image> {
    const SETTINGS: &[u8] = br#"<?php
define('DB_NAME', getenv('WORDPRESS_DB_NAME'));
define('DB_USER', getenv('WORDPRESS_DB_USER'));
define('DB_PASSWORD', getenv('WORDPRESS_DB_PASSWORD'));
define('DB_HOST', getenv('WORDPRESS_DB_HOST'));
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
define('WP_CONTENT_DIR', '/usr/share/wordpress/wp-content');
$table_prefix = 'wp_';
"#;
    const SITE: &[u8] = b"ServerName localhost
ErrorLog /proc/self/fd/2
<VirtualHost *:80>
  DocumentRoot         /usr/share/wordpress
  CustomLog /proc/self/fd/1 combined
  PassEnv WORDPRESS_DB_NAME WORDPRESS_DB_USER         WORDPRESS_DB_PASSWORD WORDPRESS_DB_HOST
</VirtualHost>
<Directory /usr/share/wordpress>
  Options         FollowSymLinks
  DirectoryIndex index.php
  Require all granted
</Directory>
";
    let packages =
        ["wordpress", "wordpress-theme-twentytwentythree", "apache2", "libapache2-mod-php", "php-mysql", "curl"];
    let base = debootstrap("wordpress", "essential", &packages)?;
    let mut own = tar::Builder::new();
    own.file(
        "usr/local/bin/apache2-foreground",
        0o755,
        b"#!/bin/sh
set -e
. /etc/apache2/envvars
mkdir -p /run/apache2 /run/lock/apache2 /var/log/apache2
          rm -f /run/apache2/apache2.pid
exec apache2 -DFOREGROUND \"$@\"
",
    );
    own.file("etc/wordpress/config-default.php", 0o644, SETTINGS);
    own.file("etc/apache2/sites-enabled/000-default.conf", 0o644, SITE);
    let config = json!({
        "Env": [PATH], "Cmd": ["apache2-foreground"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGWINCH",
    });
    Ok(Image::new(vec![base, Layer::of_tar(&own.finish())], config))
}

/// A Debian root file system with these packages, as one layer; made by mmdebstrap and cached.
fn debootstrap(name: &str, variant: &str, packages: &[&str]) -> Result<Layer> {
    let suite = host_suite()?;
    let key = digest(format!("2 {} {suite} {variant} {packages:?}", architecture()).as_bytes());
    let cache = programs::cache();
    std::fs::create_dir_all(&cache)?;
    let blob = cache.join(format!("{name}-{}.tar.gz", &key[7..19]));
    if let Some(layer) = Layer::from_cache(&blob)? {
        return Ok(layer);
    }
    eprintln!("making the {name} image from Debian {suite} packages (once): {}", packages.join(" "));
    let begun = std::time::Instant::now();
    let (digest, diff_id) = mmdebstrap(&suite, variant, packages, &blob)?;
    let layer = Layer { digest, diff_id, body: Body::File(blob.clone()) };
    layer.note(&blob)?;
    eprintln!("made the {name} image in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(layer)
}

/// The Debian release of this machine: what its package sources serve.
fn host_suite() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release").context("no /etc/os-release")?;
    let field = |key: &str| {
        let prefix = format!("{key}=");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).map(|value| value.trim_matches('"').to_string())
    };
    match (field("ID").as_deref(), field("VERSION_CODENAME")) {
        (Some("debian"), Some(suite)) => Ok(suite),
        _ => bail!("this machine is not a released Debian, so there is nothing to make Debian images from"),
    }
}

fn mmdebstrap(suite: &str, variant: &str, packages: &[&str], blob: &Path) -> Result<(String, String)> {
    let program = programs::need("mmdebstrap", "mmdebstrap")?;
    let sources = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]
        .into_iter()
        .find(|path| std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0))
        .context("no package sources under /etc/apt")?;
    let mut command = Command::new(program);
    command.args(["--quiet", "--format=tar", &format!("--variant={variant}")]);
    for dir in ["doc", "man", "locale", "info"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{dir}/*"));
    }
    let own_options = blob.with_extension(format!("{}.apt", std::process::id()));
    std::fs::write(&own_options, apt_options()?)?;
    command.arg(format!("--aptopt={}", own_options.display()));
    command.arg("--aptopt=Apt::Install-Recommends \"false\"");
    // Java's alternatives are linked into it, and it is left out above.
    command.arg("--essential-hook=mkdir -p \"$1/usr/share/man/man1\"");
    command.arg(format!("--include={}", packages.join(","))).args([suite, "-", sources]);
    command.env("SOURCE_DATE_EPOCH", "1700000000").env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut tar = child.stdout.take().context("no pipe")?;
    let part = blob.with_extension(format!("{}.part", std::process::id()));
    let mut uncompressed = Sha256::new();
    let mut gzip = GzEncoder::new(Hashing { file: File::create(&part)?, hash: Sha256::new() }, Compression::new(4));
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let n = tar.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        uncompressed.update(&buffer[..n]);
        gzip.write_all(&buffer[..n])?;
    }
    let compressed = gzip.finish()?;
    let status = child.wait()?;
    std::fs::remove_file(&own_options)?;
    if !status.success() {
        std::fs::remove_file(&part)?;
        bail!("mmdebstrap failed ({status}); are the package sources reachable?");
    }
    std::fs::rename(&part, blob)?;
    Ok((text(compressed.hash), text(uncompressed)))
}

/// This machine's own ways to reach its mirror: proxies and checks.
fn apt_options() -> Result<String> {
    let dump = Command::new("apt-config").arg("dump").output().context("cannot run apt-config")?;
    let dump = String::from_utf8_lossy(&dump.stdout);
    let wanted = ["Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries"];
    Ok(dump
        .lines()
        .filter(|line| wanted.iter().any(|start| line.starts_with(start)) && !line.ends_with("\"\";"))
        .map(|line| format!("{line}\n"))
        .collect())
}

struct Hashing {
    file: File,
    hash: Sha256,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
