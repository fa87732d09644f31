//! Runs a tree over data.

use std::rc::Rc;

use super::functions;
use super::parse::{Call, Kind, Node, Operand, Pipe, Tree};
use super::print;
use super::value::Value;
use crate::human::quote;

/// What a missing key means, and which functions apply.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// API documents: members that Go leaves out when empty are empty, others are an error.
    Document,
    /// Plain maps: a missing key is `<no value>`.
    Rows,
    /// The header of a table: functions pass the column's title through.
    Header,
}

const MAX_OUTPUT: usize = 256 << 20;
const MAX_DEPTH: usize = 100;

enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'t> {
    tree: &'t Tree,
    mode: Mode,
    out: String,
    variables: Vec<(String, Value)>,
    depth: usize,
}

/// Runs the template; the error is Go's sentence.
pub(crate) fn run(tree: &Tree, data: Value, mode: Mode) -> Result<String, String> {
    let mut run = Run { tree, mode, out: String::new(), variables: vec![("$".to_owned(), data.clone())], depth: 0 };
    run.nodes(&tree.nodes, &data)?;
    Ok(run.out)
}

impl Run<'_> {
    fn error(&self, at: usize, shown: &str, why: &str) -> String {
        let before = self.tree.source.get(..at).unwrap_or("");
        let line = 1 + before.matches('\n').count();
        let column = before.rfind('\n').map_or(at, |n| at - n - 1);
        let shown = if shown.chars().count() > 20 {
            format!("{}...", shown.chars().take(20).collect::<String>())
        } else {
            shown.to_owned()
        };
        format!("template: :{line}:{column}: executing \"\" at <{shown}>: {why}")
    }

    fn at(&self, operand: &Operand, why: &str) -> String {
        self.error(operand.at, &operand.shown(), why)
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, String> {
        for node in nodes {
            match self.node(node, dot)? {
                Flow::Next => {}
                stop => return Ok(stop),
            }
            if self.out.len() > MAX_OUTPUT {
                return Err("template: output is too large".to_owned());
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, String> {
        let scope = self.variables.len();
        let flow = match node {
            Node::Text(text) => {
                self.out.push_str(text);
                Flow::Next
            }
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    print::plain(&value, &mut self.out);
                }
                // Variables of an action live on in the list around it.
                return Ok(Flow::Next);
            }
            Node::If(pipe, then, otherwise) => {
                let chosen = if self.pipe(pipe, dot)?.is_true() { then } else { otherwise };
                self.nodes(chosen, dot)?
            }
            Node::With(pipe, then, otherwise) => {
                let value = self.pipe(pipe, dot)?;
                if value.is_true() { self.nodes(then, &value)? } else { self.nodes(otherwise, dot)? }
            }
            Node::Range(pipe, body, otherwise) => self.range(pipe, body, otherwise, dot)?,
            Node::Template(name, pipe) => {
                let value = match pipe {
                    Some(pipe) => self.pipe(pipe, dot)?,
                    None => Value::Nil,
                };
                let tree = self.tree;
                let Some(body) = tree.defined.get(name) else {
                    return Err(format!("template: :1: template {} not defined", crate::human::quote(name)));
                };
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err("template: exceeded maximum template depth".to_owned());
                }
                let saved = std::mem::replace(&mut self.variables, vec![("$".to_owned(), value.clone())]);
                self.nodes(body, &value)?;
                self.variables = saved;
                self.depth -= 1;
                Flow::Next
            }
            Node::Break => Flow::Break,
            Node::Continue => Flow::Continue,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, pipe: &Pipe, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<Flow, String> {
        let value = self.commands(pipe, dot)?;
        let items: Vec<(Value, Value)> = match &value {
            Value::List(list) => {
                list.iter().enumerate().map(|(i, v)| (Value::Int(i64::try_from(i).unwrap_or(0)), v.clone())).collect()
            }
            Value::Object(members, _) => {
                let mut sorted: Vec<&(String, Value)> = members.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                sorted.into_iter().map(|(k, v)| (Value::text(k), v.clone())).collect()
            }
            Value::Int(n) => (0..*n).map(|i| (Value::Int(i), Value::Int(i))).collect(),
            Value::Nil | Value::Missing | Value::NilList | Value::NilMap => Vec::new(),
            other => {
                let operand = pipe.commands.first().and_then(|c| c.operands.first());
                let why = format!("range can't iterate over {}", print::to_text(other));
                return Err(operand.map_or_else(|| why.clone(), |o| self.at(o, &why)));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let scope = self.variables.len();
            match pipe.variables.as_slice() {
                [one] => self.set(one, item.clone(), pipe.assign),
                [one, two] => {
                    self.set(one, key, pipe.assign);
                    self.set(two, item.clone(), pipe.assign);
                }
                _ => {}
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn set(&mut self, name: &str, value: Value, assign: bool) {
        if assign {
            if let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
                slot.1 = value;
            }
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.assign);
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut last = None;
        for call in &pipe.commands {
            last = Some(self.call(call, dot, last)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn call(&mut self, call: &Call, dot: &Value, piped: Option<Value>) -> Result<Value, String> {
        let Some((first, rest)) = call.operands.split_first() else { return Ok(Value::Nil) };
        if let Kind::Function(name) = &first.kind {
            // `and` and `or` stop at the first operand that decides.
            if matches!(name.as_str(), "and" | "or") {
                let stop = name == "or";
                let mut value = Value::Nil;
                for operand in rest {
                    value = self.operand(operand, dot)?;
                    if value.is_true() == stop {
                        return Ok(value);
                    }
                }
                return Ok(piped.unwrap_or(value));
            }
            let mut arguments = Vec::with_capacity(rest.len() + 1);
            for operand in rest {
                arguments.push(self.operand(operand, dot)?);
            }
            arguments.extend(piped);
            return functions::call(name, &arguments, self.mode == Mode::Header).map_err(|why| {
                if why.starts_with("wrong number of args") {
                    self.at(first, &why)
                } else {
                    self.error(first.at, &call.shown(), &format!("error calling {name}: {why}"))
                }
            });
        }
        let mut arguments = Vec::new();
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        if arguments.is_empty() {
            return self.operand(first, dot);
        }
        match &first.kind {
            Kind::Field(fields) => self.method(first, dot, fields, &arguments),
            Kind::Variable(name, fields) if !fields.is_empty() => {
                let base = self.variable(name);
                self.method(first, &base, fields, &arguments)
            }
            _ => Err(self.at(first, &format!("can't give argument to non-function {}", first.shown()))),
        }
    }

    fn method(&self, operand: &Operand, base: &Value, fields: &[String], arguments: &[Value]) -> Result<Value, String> {
        let Some((name, path)) = fields.split_last() else { return Ok(Value::Nil) };
        let mut value = base.clone();
        for field in path {
            value = self.field(operand, &value, field)?;
        }
        if let (Value::Row(row), [argument]) = (&value, arguments)
            && let Some(found) = row.call(name, &print::to_text(argument))
        {
            return Ok(found);
        }
        Err(self.at(operand, &format!("{name} has arguments but cannot be invoked as function")))
    }

    fn variable(&self, name: &str) -> Value {
        self.variables.iter().rev().find(|(n, _)| n == name).map_or(Value::Nil, |(_, v)| v.clone())
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        let (base, fields) = match &operand.kind {
            Kind::Dot => return Ok(dot.clone()),
            Kind::Nil => return Ok(Value::Nil),
            Kind::Bool(b) => return Ok(Value::Bool(*b)),
            Kind::Int(n) => return Ok(Value::Int(*n)),
            Kind::Float(n) => return Ok(Value::Float(*n)),
            Kind::Str(s) => return Ok(Value::Str(Rc::from(s.as_str()))),
            Kind::Function(name) => {
                return functions::call(name, &[], self.mode == Mode::Header).map_err(|why| self.at(operand, &why));
            }
            Kind::Field(fields) => (dot.clone(), fields),
            Kind::Variable(name, fields) => (self.variable(name), fields),
            Kind::Sub(pipe, fields) => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return Err("template: exceeded maximum template depth".to_owned());
                }
                let value = self.pipe(pipe, dot)?;
                self.depth -= 1;
                (value, fields)
            }
        };
        let mut value = base;
        let mut before: Option<(Value, &str)> = None;
        for field in fields {
            if let (Value::Nil, Some((holder, name)), Mode::Document) = (&value, &before, self.mode)
                && holder.member(name).is_none()
            {
                // Left out by the daemon, so there is nothing to look into.
                return Err(self.at(operand, &format!("map has no entry for key {}", quote(name))));
            }
            let next = self.field(operand, &value, field)?;
            before = Some((std::mem::replace(&mut value, next), field));
        }
        Ok(value)
    }

    fn field(&self, operand: &Operand, value: &Value, name: &str) -> Result<Value, String> {
        match value {
            Value::Object(members, as_struct) => match find(members, *as_struct, name) {
                Some(found) => Ok(found.clone()),
                None if self.mode == Mode::Document && *as_struct => {
                    omitted(name).ok_or_else(|| self.at(operand, &format!("map has no entry for key {}", quote(name))))
                }
                None => Ok(Value::Missing),
            },
            Value::NilMap => Ok(Value::Missing),
            Value::Row(row) => row
                .column(name)
                .ok_or_else(|| self.at(operand, &format!("can't evaluate field {name} in type {}", row.type_name()))),
            Value::Nil | Value::Missing if self.mode == Mode::Document => {
                Err(self.at(operand, &format!("nil pointer evaluating interface {{}}.{name}")))
            }
            Value::Nil | Value::Missing => Ok(Value::Missing),
            other => Err(self.at(operand, &format!("can't evaluate field {name} in type {}", other.type_name()))),
        }
    }
}

/// A member; structs also by Go's spelling of its name (`ID` for `Id`, `APIVersion` for `ApiVersion`).
fn find<'v>(members: &'v [(String, Value)], as_struct: bool, name: &str) -> Option<&'v Value> {
    let exact = members.iter().find(|(k, _)| k == name);
    exact.or_else(|| members.iter().find(|(k, _)| as_struct && k.eq_ignore_ascii_case(name))).map(|(_, v)| v)
}

/// Members of API documents that are left out when they are empty, with what Go has in their place.
fn omitted(name: &str) -> Option<Value> {
    let list = || Some(Value::List(Rc::new(Vec::new())));
    let map = || Some(Value::Object(Rc::new(Vec::new()), false));
    match name {
        "Mounts" | "Aliases" | "Links" | "RepoTags" | "RepoDigests" => list(),
        "ExposedPorts" | "Tmpfs" | "Sysctls" | "StorageOpt" | "Annotations" | "Labels" | "Volumes" => map(),
        "Health" | "Healthcheck" | "Init" | "SizeRw" | "SizeRootFs" | "StopTimeout" | "ImageManifestDescriptor" => {
            Some(Value::Nil)
        }
        "StopSignal" | "Shell" | "MacAddress" | "Runtime" => Some(Value::text("")),
        "NetworkDisabled" => Some(Value::Bool(false)),
        _ => None,
    }
}
