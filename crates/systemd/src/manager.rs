//! systemd's manager: units that are made for a container and go with it.

use std::time::{Duration, Instant};

use crate::connection::{Connection, sockets};
use crate::path::Location;
use crate::properties::{Property, Value};
use crate::wire::{Reader, Writer};
use crate::{Error, wire};

const SERVICE: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long a job may take.
const LONGEST_JOB: Duration = Duration::from_secs(30);

/// A connection to the system's systemd, or to the user's own.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
}

impl Manager {
    /// `user`: the instance of the calling user.
    pub fn connect(user: bool) -> Result<Manager, Error> {
        let mut connection = Connection::open(&sockets(user))?;
        // Without it a bus hears of no job. On the private socket every job is told.
        if connection.is_bus() {
            connection.call(SERVICE, OBJECT, MANAGER, "Subscribe", ("", Writer::default()))?;
        }
        Ok(Manager { connection })
    }

    fn call(&mut self, member: &str, body: (&str, Writer)) -> Result<Vec<u8>, Error> {
        self.connection.call(SERVICE, OBJECT, MANAGER, member, body)
    }

    /// Starts a transient scope (a slice, if the unit is one) with `pid` in it, whose cgroup is ours to divide.
    ///
    /// One of the same name that has failed and was never cleaned up is forgotten first.
    pub fn start(
        &mut self,
        location: &Location,
        description: &str,
        pid: i32,
        limits: &[Property],
    ) -> Result<(), Error> {
        let is_slice = location.unit.ends_with(".slice");
        let flag = |name| Property { name, value: Value::Bool(true) };
        let text = |name, value: &str| Property { name, value: Value::Text(value.to_owned()) };
        let mut properties = vec![text("Description", description)];
        if !is_slice {
            properties.push(text("Slice", &location.slice));
            properties.push(Property { name: "PIDs", value: Value::Numbers(vec![pid as u32]) });
            properties.push(flag("Delegate"));
        }
        properties.extend(["MemoryAccounting", "CPUAccounting", "TasksAccounting"].map(flag));
        properties.push(flag("IOAccounting"));
        properties.push(Property { name: "DefaultDependencies", value: Value::Bool(false) });
        properties.extend_from_slice(limits);
        match self.start_once(&location.unit, &properties) {
            Err(Error::Answer { name, .. }) if name.ends_with(".UnitExists") => {
                self.reset_failed(&location.unit)?;
                self.start_once(&location.unit, &properties)
            }
            other => other,
        }
    }

    fn start_once(&mut self, unit: &str, properties: &[Property]) -> Result<(), Error> {
        let mut body = Writer::default();
        body.string(unit);
        body.string("replace");
        write_properties(&mut body, properties);
        body.array(8, |_| {});
        let answer = self.call("StartTransientUnit", ("ssa(sv)a(sa(sv))", body))?;
        let job = Reader::new(&answer).string()?;
        match self.wait(unit, &job)?.as_str() {
            "done" => Ok(()),
            result => {
                let _ = self.reset_failed(unit);
                Err(Error::Job { unit: unit.to_owned(), result: result.to_owned() })
            }
        }
    }

    /// Waits for the signal `JobRemoved(u id, o job, s unit, s result)`.
    fn wait(&mut self, unit: &str, job: &str) -> Result<String, Error> {
        let end = Instant::now() + LONGEST_JOB;
        while let Some((header, body)) = self.connection.signal(end)? {
            if header.member != "JobRemoved" || header.signature != "uoss" {
                continue;
            }
            let mut reader = Reader::new(&body);
            reader.u32()?;
            let (removed, _unit, result) = (reader.string()?, reader.string()?, reader.string()?);
            if removed == job {
                return Ok(result);
            }
        }
        Err(Error::Timeout { unit: unit.to_owned() })
    }

    /// Where a unit is in the hierarchies: the path of its cgroup below their roots.
    pub fn control_group(&mut self, unit: &str) -> Result<String, Error> {
        let interface = if unit.ends_with(".slice") { "Slice" } else { "Scope" };
        let mut body = Writer::default();
        body.string(&format!("{SERVICE}.{interface}"));
        body.string("ControlGroup");
        let object = object_of(unit);
        let answer = self.connection.call(SERVICE, &object, "org.freedesktop.DBus.Properties", "Get", ("ss", body))?;
        let mut reader = Reader::new(&answer);
        match reader.signature()?.as_str() {
            "s" => reader.string(),
            _ => Err(Error::Invalid("ControlGroup is no string")),
        }
    }

    /// Moves a process of the caller's into the cgroup of a unit.
    pub fn attach(&mut self, unit: &str, pid: i32) -> Result<(), Error> {
        let mut body = Writer::default();
        body.string(unit);
        body.string("");
        body.array(4, |array| array.u32(pid as u32));
        self.call("AttachProcessesToUnit", ("ssau", body)).map(drop)
    }

    /// Changes limits of a unit until it ends.
    pub fn set(&mut self, unit: &str, limits: &[Property]) -> Result<(), Error> {
        if limits.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        body.string(unit);
        body.bool(true);
        write_properties(&mut body, limits);
        self.call("SetUnitProperties", ("sba(sv)", body)).map(drop)
    }

    /// Stops a unit and waits until that is done. One that is gone already is fine.
    pub fn stop(&mut self, unit: &str) -> Result<(), Error> {
        let mut body = Writer::default();
        body.string(unit);
        body.string("replace");
        match self.call("StopUnit", ("ss", body)) {
            Ok(answer) => {
                let job = Reader::new(&answer).string()?;
                self.wait(unit, &job)?;
            }
            Err(Error::Answer { name, .. }) if name.ends_with(".NoSuchUnit") => return Ok(()),
            Err(error) => return Err(error),
        }
        self.reset_failed(unit)
    }

    /// Lets systemd forget that a unit has failed.
    fn reset_failed(&mut self, unit: &str) -> Result<(), Error> {
        let mut body = Writer::default();
        body.string(unit);
        match self.call("ResetFailedUnit", ("s", body)) {
            Err(Error::Answer { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            other => other.map(drop),
        }
    }
}

fn write_properties(body: &mut wire::Writer, properties: &[Property]) {
    body.array(8, |array| {
        for property in properties {
            array.align(8);
            array.string(property.name);
            property.value.write(array);
        }
    });
}

/// The object of a unit: bytes that are no letters or digits are escaped (sd_bus_path_encode(3)).
fn object_of(unit: &str) -> String {
    let mut path = format!("{OBJECT}/unit/");
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path += &format!("_{byte:02x}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    #[test]
    fn objects_of_units() {
        assert_eq!(super::object_of("docker-1.scope"), "/org/freedesktop/systemd1/unit/docker_2d1_2escope");
        assert_eq!(super::object_of("1a"), "/org/freedesktop/systemd1/unit/_31a");
    }
}
