//! Requests as the clients send them.

use std::collections::BTreeMap;

use crate::status::Status;
use crate::wire::{Value, fields};

/// Attributes by name.
pub type Attributes = BTreeMap<String, String>;

/// An output, a cache source, a cache target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// `image`, `tar`, `registry`, …
    pub kind: String,
    /// What it is told.
    pub attributes: Attributes,
}

/// `moby.buildkit.v1.SolveRequest`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message's names")]
pub struct Solve {
    pub reference: String,
    pub definition: Option<Definition>,
    pub session: String,
    pub frontend: String,
    pub attributes: Attributes,
    pub exporters: Vec<Entry>,
    pub cache_exports: Vec<Entry>,
    pub cache_imports: Vec<Entry>,
    pub entitlements: Vec<String>,
    pub inputs: BTreeMap<String, Definition>,
    pub internal: bool,
    pub source_policy: bool,
    pub source_policy_session: String,
    pub session_exporter: bool,
    pub proxy_network: bool,
}

/// `pb.Definition`: the operations, as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// Marshalled `pb.Op`s.
    pub operations: Vec<Vec<u8>>,
}

/// `pb.SourceOp`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// `git://…`, `https://…`, `docker-image://…`
    pub identifier: String,
    /// What it is told.
    pub attributes: Attributes,
}

/// `moby.buildkit.v1.frontend.SolveRequest`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the message's names")]
pub struct FrontendSolve {
    pub definition: Option<Definition>,
    pub frontend: String,
    pub options: Attributes,
    pub inputs: BTreeMap<String, Definition>,
    pub cache_imports: Vec<Entry>,
    pub source_policy: bool,
}

/// `moby.buildkit.v1.frontend.Result`, as far as it is returned: ids of results.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Returned {
    /// By platform; the only one has the key `""`.
    pub references: BTreeMap<String, String>,
    /// Attestations are there.
    pub attested: bool,
    /// What the client adds, `annotation.…` for one.
    pub metadata: BTreeMap<String, Vec<u8>>,
}

fn insert(into: &mut Attributes, value: Value<'_>) -> Result<(), Status> {
    let (key, value) = value.entry()?;
    into.insert(key, value.text()?);
    Ok(())
}

impl Entry {
    fn read(message: &[u8]) -> Result<Entry, Status> {
        let mut entry = Entry::default();
        for field in fields(message) {
            match field? {
                (1, value) => entry.kind = value.text()?,
                (2, value) => insert(&mut entry.attributes, value)?,
                _ => {}
            }
        }
        Ok(entry)
    }

    /// An attribute that is a flag.
    pub fn flag(&self, name: &str) -> bool {
        self.attributes.get(name).is_some_and(|value| ["1", "t", "true", "T", "TRUE", "True"].contains(&value.as_str()))
    }
}

impl Definition {
    fn read(message: &[u8]) -> Result<Definition, Status> {
        let mut definition = Definition::default();
        for field in fields(message) {
            if let (1, value) = field? {
                definition.operations.push(value.bytes().to_vec());
            }
        }
        Ok(definition)
    }

    /// Identifiers of the sources in it, and whether it has anything else.
    pub fn sources(&self) -> Result<(Vec<String>, bool), Status> {
        let (sources, unpacks, others) = self.parts()?;
        Ok((sources.into_iter().map(|source| source.identifier).collect(), unpacks || others))
    }

    /// The sources in it, whether it has one file operation that only unpacks an archive, and whether there is more.
    pub fn parts(&self) -> Result<(Vec<Source>, bool, bool), Status> {
        let (mut sources, mut unpacks, mut others) = (Vec::new(), false, false);
        for operation in &self.operations {
            for field in fields(operation) {
                match field? {
                    (3, value) => {
                        let mut source = Source::default();
                        for field in fields(value.bytes()) {
                            match field? {
                                (1, value) => source.identifier = value.text()?,
                                (2, value) => insert(&mut source.attributes, value)?,
                                _ => {}
                            }
                        }
                        sources.push(source);
                    }
                    (4, value) if !unpacks && only_unpacks(value.bytes())? => unpacks = true,
                    (2 | 4..=8, _) => others = true,
                    _ => {}
                }
            }
        }
        Ok((sources, unpacks, others))
    }
}

/// Whether a `pb.FileOp` is one copy that unpacks an archive.
fn only_unpacks(operation: &[u8]) -> Result<bool, Status> {
    let (mut copies, mut unpacks) = (0, false);
    for field in fields(operation) {
        let (2, action) = field? else { continue };
        for field in fields(action.bytes()) {
            match field? {
                (4, copy) => {
                    copies += 1;
                    for field in fields(copy.bytes()) {
                        if let (7, value) = field? {
                            unpacks = value.flag();
                        }
                    }
                }
                (5..=8, _) => return Ok(false),
                _ => {}
            }
        }
    }
    Ok(copies == 1 && unpacks)
}

impl Solve {
    /// Reads one.
    pub fn read(message: &[u8]) -> Result<Solve, Status> {
        let (mut solve, mut old) = (Solve::default(), Entry::default());
        for field in fields(message) {
            match field? {
                (1, value) => solve.reference = value.text()?,
                (2, value) => solve.definition = Some(Definition::read(value.bytes())?),
                (3, value) => old.kind = value.text()?,
                (4, value) => insert(&mut old.attributes, value)?,
                (5, value) => solve.session = value.text()?,
                (6, value) => solve.frontend = value.text()?,
                (7, value) => insert(&mut solve.attributes, value)?,
                (8, value) => {
                    for field in fields(value.bytes()) {
                        match field? {
                            (1 | 2, value) => {
                                let what = format!("the outdated way to name the cache {:?}", value.text()?);
                                return Err(Status::unsupported(&what));
                            }
                            (4, value) => solve.cache_exports.push(Entry::read(value.bytes())?),
                            (5, value) => solve.cache_imports.push(Entry::read(value.bytes())?),
                            _ => {}
                        }
                    }
                }
                (9, value) => solve.entitlements.push(value.text()?),
                (10, value) => {
                    let (key, value) = value.entry()?;
                    solve.inputs.insert(key, Definition::read(value.bytes())?);
                }
                (11, value) => solve.internal = value.flag(),
                (12, _) => solve.source_policy = true,
                (13, value) => solve.exporters.push(Entry::read(value.bytes())?),
                (14, value) => solve.session_exporter = value.flag(),
                (15, value) => solve.source_policy_session = value.text()?,
                (17, value) => solve.proxy_network = value.flag(),
                _ => {}
            }
        }
        if solve.exporters.is_empty() && !old.kind.is_empty() {
            solve.exporters.push(old);
        }
        Ok(solve)
    }
}

impl FrontendSolve {
    /// Reads one.
    pub fn read(message: &[u8]) -> Result<FrontendSolve, Status> {
        let mut solve = FrontendSolve::default();
        for field in fields(message) {
            match field? {
                (1, value) => solve.definition = Some(Definition::read(value.bytes())?),
                (2, value) => solve.frontend = value.text()?,
                (3, value) => insert(&mut solve.options, value)?,
                (12, value) => solve.cache_imports.push(Entry::read(value.bytes())?),
                (13, value) => {
                    let (key, value) = value.entry()?;
                    solve.inputs.insert(key, Definition::read(value.bytes())?);
                }
                (15, _) => solve.source_policy = true,
                _ => {}
            }
        }
        Ok(solve)
    }
}

impl Returned {
    /// Reads the result of a `ReturnRequest`; its error, if that is what it returns.
    pub fn read(message: &[u8]) -> Result<Result<Returned, Status>, Status> {
        let mut returned = Returned::default();
        for field in fields(message) {
            match field? {
                (1, value) => {
                    for field in fields(value.bytes()) {
                        returned.field(field?)?;
                    }
                }
                (2, value) => return Ok(Err(Status::from_message(value.bytes())?)),
                _ => {}
            }
        }
        Ok(Ok(returned))
    }

    fn field(&mut self, field: (u64, Value<'_>)) -> Result<(), Status> {
        let id = |message: &[u8]| {
            let mut id = String::new();
            for field in fields(message) {
                if let (1, value) = field? {
                    id = value.text()?;
                }
            }
            Ok::<_, Status>(id)
        };
        match field {
            (1, value) => drop(self.references.insert(String::new(), value.text()?)),
            (3, value) => drop(self.references.insert(String::new(), id(value.bytes())?)),
            (2, value) => {
                for field in fields(value.bytes()) {
                    if let (1, value) = field? {
                        let (platform, value) = value.entry()?;
                        self.references.insert(platform, value.text()?);
                    }
                }
            }
            (4, value) => {
                for field in fields(value.bytes()) {
                    if let (1, value) = field? {
                        let (platform, value) = value.entry()?;
                        self.references.insert(platform, id(value.bytes())?);
                    }
                }
            }
            (10, value) => {
                let (key, value) = value.entry()?;
                self.metadata.insert(key, value.bytes().to_vec());
            }
            (12, _) => self.attested = true,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    #[test]
    fn a_solve() {
        let message = Message::new()
            .bytes(1, "ref")
            .bytes(3, "moby")
            .entry(4, "name", "x")
            .bytes(5, "session")
            .entry(7, "filename", "Dockerfile")
            .bytes(9, "network.host");
        let solve = Solve::read(message.as_ref()).unwrap();
        assert_eq!((solve.reference.as_str(), solve.session.as_str()), ("ref", "session"));
        assert_eq!(solve.exporters[0].kind, "moby");
        assert_eq!(solve.attributes["filename"], "Dockerfile");
        // The list counts where there is one.
        let message = message.message(13, &Message::new().bytes(1, "tar"));
        let solve = Solve::read(message.as_ref()).unwrap();
        assert_eq!(solve.exporters.iter().map(|entry| entry.kind.as_str()).collect::<Vec<_>>(), ["tar"]);
    }

    #[test]
    fn what_is_returned() {
        let one = Message::new().message(3, &Message::new().bytes(1, "a"));
        let returned = Returned::read(Message::new().message(1, &one).as_ref()).unwrap().unwrap();
        assert_eq!(returned.references[""], "a");
        let entry = Message::new().bytes(1, "linux/arm64").message(2, &Message::new().bytes(1, "b"));
        let several = Message::new().message(4, &Message::new().message(1, &entry));
        let returned = Returned::read(Message::new().message(1, &several).as_ref()).unwrap().unwrap();
        assert_eq!(returned.references["linux/arm64"], "b");
        let error = Status::invalid("no").to_message();
        assert_eq!(Returned::read(Message::new().message(2, &error).as_ref()).unwrap().unwrap_err().message, "no");
    }
}
