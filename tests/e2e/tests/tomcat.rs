//! A service that is edited from inside while it runs.

use anyhow::{Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, images, registry, tests, wait};

use crate::check::{eq, is_hex};

pub const TESTS: &[Test] = tests![w14_tomcat];

fn w14_tomcat(lab: &mut Lab) -> Result<()> {
    if !images::long_form() {
        println!(
            "w14_tomcat: a small web server in Tomcat's layout stands in for it; the real one with HOIST_E2E_LONG=1"
        );
    }
    lab.pull("tomcat")?;
    let port = registry::free_port()?;
    let id = lab.client.ok(&format!("run -d -p {port}:8080 --name tomcat-test tomcat"))?;
    ensure!(is_hex(&id, 64), "printed {id:?}");
    let address = ([127, 0, 0, 1], port).into();
    let patience = if images::long_form() { SOON * 6 } else { SOON };
    wait::until_true("the server, still without its pages", patience, || Ok(http::get(address, "/")?.status == 404))?;
    let mut pty = lab.client.pty("exec -it tomcat-test bash")?;
    pty.send("cd /usr/local/tomcat\n")?;
    pty.send("rm -rf webapps.old; mv webapps webapps.old; mv webapps.dist webapps; echo m$((1+1))ved\n")?;
    pty.expect("m2ved", SOON)?;
    pty.send("exit\n")?;
    eq("exit status", pty.wait(SOON)?, 0)?;
    wait::until_true("the pages after the edit", patience, || {
        let answer = http::get(address, "/")?;
        Ok(answer.status == 200 && answer.text().contains("Apache Tomcat"))
    })
}
