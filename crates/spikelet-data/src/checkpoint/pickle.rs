//! A pickle machine, protocols 0 to 5, that builds data and never calls anything.
//!
//! Objects live in an arena and refer to one another by index, so shared and cyclic structures
//! cost what they cost in the file, and a pickle that doubles a list a thousand times stays
//! small. A call (`REDUCE`, `NEWOBJ`, `INST`, ...) is recorded as an [`Object`] with its class and
//! arguments; what it means is decided later, by those who know the class.

use super::{
    error::{DAMAGED, Fault},
    input::Input,
    literal::{python2_string, signed, unescape_unicode, unquote},
};
use std::collections::HashMap;

/// More objects than any published checkpoint comes near to.
const MAX_NODES: usize = 2 << 20;
/// A line of a text opcode; long strings use the binary opcodes.
const MAX_LINE: usize = 1 << 20;

/// Index of a node in its [`Pickle`].
pub(crate) type Id = u32;

/// One Python object.
#[derive(Debug)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i128),
    /// An integer of more than 16 bytes: only its size is kept.
    LargeInt(usize),
    Float(f64),
    Str(Box<str>),
    Bytes(Box<[u8]>),
    Tuple(Box<[Id]>),
    List(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Box<[String; 2]>),
    /// What the writer stored elsewhere, for torch a storage.
    Persistent(Id),
    Object(Box<Object>),
}

/// The record of a call: an instance of a class or the result of a function.
#[derive(Debug)]
pub(crate) struct Object {
    pub class: Id,
    pub args: Id,
    /// What `BUILD` handed to it.
    pub state: Option<Id>,
    /// What was appended to it.
    pub items: Vec<Id>,
    /// What was set in it by key.
    pub entries: Vec<(Id, Id)>,
}

/// The objects of one pickle.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub nodes: Vec<Node>,
    pub root: Id,
}

impl Pickle {
    /// Runs the pickle at the position of `input`, up to and including its `STOP`.
    pub fn read(input: &mut Input) -> Result<Self, Fault> {
        let mut machine = Machine {
            input,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = loop {
            let at = machine.input.position();
            let opcode = machine.input.byte()?;
            if opcode == b'.' {
                break machine.pop()?;
            }
            machine.step(opcode, at)?;
        };
        Ok(Self { nodes: machine.nodes, root })
    }
}

struct Machine<'a, 'b> {
    input: &'a mut Input<'b>,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl Machine<'_, '_> {
    fn step(&mut self, opcode: u8, at: u64) -> Result<(), Fault> {
        match opcode {
            // Protocol, frame: nothing that matters here.
            0x80 => self.input.take(1).map(|_| ()),
            0x95 => self.input.take(8).map(|_| ()),
            // The stack.
            b'(' => self.mark(),
            b'0' => self.discard(),
            b'1' => self.pop_mark().map(|_| ()),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)
            }
            // The memo.
            b'p' => {
                let key = self.line_number()?;
                self.store(key)
            }
            b'q' => {
                let key = self.unsigned(1)?;
                self.store(key)
            }
            b'r' => {
                let key = self.unsigned(4)?;
                self.store(key)
            }
            0x94 => self.store(self.memo.len() as u64),
            b'g' => {
                let key = self.line_number()?;
                self.load(key, at)
            }
            b'h' => {
                let key = self.unsigned(1)?;
                self.load(key, at)
            }
            b'j' => {
                let key = self.unsigned(4)?;
                self.load(key, at)
            }
            b'N' | 0x88 | 0x89 | b'I' | b'J' | b'K' | b'M' | b'L' | 0x8a | 0x8b | b'F' | b'G' => {
                let number = self.number(opcode, at)?;
                self.push(number)
            }
            b'S' | b'T' | b'U' | b'V' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => {
                let text = self.text(opcode, at)?;
                self.push(text)
            }
            0x97 | 0x98 => Err(Fault::Unsupported(
                "the pickle refers to buffers outside of the file: save it without buffer_callback"
                    .into(),
            )),
            b')' | b't' | 0x85 | 0x86 | 0x87 | b']' | b'l' | b'}' | b'd' | 0x8f | 0x91 | b'a'
            | b'e' | b's' | b'u' | 0x90 => self.collect(opcode, at),
            b'c' | 0x93 | b'i' | b'o' | b'R' | 0x81 | 0x92 | b'b' | b'P' | b'Q' | 0x82..=0x84 => {
                self.construct(opcode, at)
            }
            _ => Err(Fault::damaged(at, format!("0x{opcode:02x} is not a pickle opcode"))),
        }
    }

    fn number(&mut self, opcode: u8, at: u64) -> Result<Node, Fault> {
        let node = match opcode {
            b'N' => Node::None,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'J' => Node::Int(i128::from(self.unsigned(4)? as u32 as i32)),
            b'K' => Node::Int(self.unsigned(1)?.into()),
            b'M' => Node::Int(self.unsigned(2)?.into()),
            0x8a | 0x8b => {
                let length = self.unsigned(if opcode == 0x8a { 1 } else { 4 })?;
                signed(&self.input.take(length)?)
            }
            b'G' => {
                let bytes = self.input.take(8)?;
                let bits = bytes.iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
                Node::Float(f64::from_bits(bits))
            }
            _ => self.text_number(opcode, at)?,
        };
        Ok(node)
    }

    fn text_number(&mut self, opcode: u8, at: u64) -> Result<Node, Fault> {
        let line = self.line()?;
        let number = match (opcode, line.as_str()) {
            (b'I', "00") => Some(Node::Bool(false)),
            (b'I', "01") => Some(Node::Bool(true)),
            (b'F', digits) => digits.parse().ok().map(Node::Float),
            (_, digits) => {
                let digits = digits.strip_suffix('L').unwrap_or(digits);
                let all_digits = digits.bytes().skip(1).all(|byte| byte.is_ascii_digit());
                match digits.parse().map(Node::Int) {
                    Err(_) if all_digits && digits.len() > 38 => Some(Node::LargeInt(digits.len())),
                    result => result.ok(),
                }
            }
        };
        number.ok_or_else(|| Fault::damaged(at, format!("{line:?} is not a number")))
    }

    fn text(&mut self, opcode: u8, at: u64) -> Result<Node, Fault> {
        let bytes = match opcode {
            b'S' => return Ok(python2_string(unquote(self.line_bytes()?, at)?)),
            b'V' => return Ok(Node::Str(unescape_unicode(&self.line_bytes()?, at)?.into())),
            b'U' | 0x8c | b'C' => self.sized(1)?,
            b'T' | b'X' | b'B' => self.sized(4)?,
            _ => self.sized(8)?,
        };
        match opcode {
            b'U' | b'T' => Ok(python2_string(bytes)),
            b'X' | 0x8c | 0x8d => match String::from_utf8(bytes) {
                Ok(text) => Ok(Node::Str(text.into())),
                Err(_) => Err(Fault::damaged(at, "a string is not UTF-8")),
            },
            _ => Ok(Node::Bytes(bytes.into())),
        }
    }

    fn collect(&mut self, opcode: u8, at: u64) -> Result<(), Fault> {
        let node = match opcode {
            b')' => Node::Tuple(Box::default()),
            b't' => Node::Tuple(self.pop_mark()?.into()),
            0x85..=0x87 => Node::Tuple(self.pop_many(usize::from(opcode - 0x84))?.into()),
            b']' => Node::List(Vec::new()),
            b'l' => Node::List(self.pop_mark()?),
            b'}' => Node::Dict(Vec::new()),
            b'd' => Node::Dict(pairs(self.pop_mark()?, at)?),
            0x8f => Node::Set(Vec::new()),
            0x91 => Node::Set(self.pop_mark()?),
            b'a' => {
                let items = self.pop_many(1)?;
                return self.extend(items, at);
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                return self.extend(items, at);
            }
            b's' => {
                let pair = self.pop_many(2)?;
                return self.set(pairs(pair, at)?, at);
            }
            _ => {
                let entries = pairs(self.pop_mark()?, at)?;
                return self.set(entries, at);
            }
        };
        self.push(node)
    }

    fn construct(&mut self, opcode: u8, at: u64) -> Result<(), Fault> {
        match opcode {
            b'c' => {
                let names = [self.line()?, self.line()?];
                self.push(Node::Global(Box::new(names)))
            }
            0x93 => {
                let names = self.pop_many(2)?;
                match [&self.nodes[names[0] as usize], &self.nodes[names[1] as usize]] {
                    [Node::Str(module), Node::Str(name)] => {
                        let names = [module.to_string(), name.to_string()];
                        self.push(Node::Global(Box::new(names)))
                    }
                    _ => Err(Fault::damaged(at, "the name of a class is not a string")),
                }
            }
            0x82..=0x84 => {
                let code = self.unsigned(1 << (opcode - 0x82))?;
                self.push(Node::Global(Box::new(["copyreg.extension".into(), code.to_string()])))
            }
            b'i' => {
                let names = [self.line()?, self.line()?];
                let args = self.pop_mark()?;
                let class = self.add(Node::Global(Box::new(names)))?;
                self.call(class, args)
            }
            b'o' => {
                let mut args = self.pop_mark()?;
                if args.is_empty() {
                    return Err(Fault::damaged(at, "an instance without a class"));
                }
                let class = args.remove(0);
                self.call(class, args)
            }
            b'R' | 0x81 => {
                let pair = self.pop_many(2)?;
                self.push_object(pair[0], pair[1])
            }
            0x92 => {
                let parts = self.pop_many(3)?;
                // Keyword arguments are kept as the last argument.
                let args = self.add(Node::Tuple(parts[1..].into()))?;
                self.push_object(parts[0], args)
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                match &mut self.nodes[target as usize] {
                    Node::Object(object) => {
                        object.state = Some(state);
                        Ok(())
                    }
                    _ => Err(Fault::damaged(at, "a state for something that takes none")),
                }
            }
            b'P' => {
                let line = self.line()?;
                let id = self.add(Node::Str(line.into()))?;
                self.push(Node::Persistent(id))
            }
            _ => {
                let id = self.pop()?;
                self.push(Node::Persistent(id))
            }
        }
    }

    fn call(&mut self, class: Id, args: Vec<Id>) -> Result<(), Fault> {
        let args = self.add(Node::Tuple(args.into()))?;
        self.push_object(class, args)
    }

    fn push_object(&mut self, class: Id, args: Id) -> Result<(), Fault> {
        let (items, entries) = (Vec::new(), Vec::new());
        self.push(Node::Object(Box::new(Object { class, args, state: None, items, entries })))
    }

    fn extend(&mut self, items: Vec<Id>, at: u64) -> Result<(), Fault> {
        let target = self.top()?;
        match &mut self.nodes[target as usize] {
            Node::List(list) | Node::Set(list) => list.extend(items),
            Node::Object(object) => object.items.extend(items),
            _ => return Err(Fault::damaged(at, "items for something that is not a list")),
        }
        Ok(())
    }

    fn set(&mut self, pairs: Vec<(Id, Id)>, at: u64) -> Result<(), Fault> {
        let target = self.top()?;
        match &mut self.nodes[target as usize] {
            Node::Dict(dict) => dict.extend(pairs),
            Node::Object(object) => object.entries.extend(pairs),
            _ => return Err(Fault::damaged(at, "entries for something that is not a dict")),
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<Id, Fault> {
        self.limit(self.nodes.len())?;
        self.nodes.push(node);
        Ok((self.nodes.len() - 1) as Id)
    }

    fn push(&mut self, node: Node) -> Result<(), Fault> {
        let id = self.add(node)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Result<(), Fault> {
        self.limit(self.stack.len())?;
        self.stack.push(id);
        Ok(())
    }

    fn mark(&mut self) -> Result<(), Fault> {
        self.limit(self.marks.len())?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn limit(&self, count: usize) -> Result<(), Fault> {
        if count < MAX_NODES {
            return Ok(());
        }
        let problem = format!("more than {MAX_NODES} objects");
        Err(Fault::hostile(self.input.position(), problem))
    }

    /// Index of the lowest entry that belongs to the innermost open mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Fault> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err(self.underflow()),
        }
    }

    fn pop(&mut self) -> Result<Id, Fault> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, Fault> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(self.stack.split_off(start)),
            _ => Err(self.underflow()),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Fault> {
        let Some(start) = self.marks.pop() else { return Err(self.underflow()) };
        Ok(self.stack.split_off(start))
    }

    /// `POP` removes a mark when nothing lies above it.
    fn discard(&mut self) -> Result<(), Fault> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    fn underflow(&self) -> Fault {
        Fault::damaged(self.input.position(), "an opcode needs more objects than there are")
    }

    fn store(&mut self, key: u64) -> Result<(), Fault> {
        self.limit(self.memo.len())?;
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn load(&mut self, key: u64, at: u64) -> Result<(), Fault> {
        match self.memo.get(&key) {
            Some(&id) => self.push_id(id),
            None => Err(Fault::damaged(at, format!("memo entry {key} was never stored"))),
        }
    }

    fn unsigned(&mut self, bytes: u64) -> Result<u64, Fault> {
        let bytes = self.input.take(bytes)?;
        Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn sized(&mut self, length_bytes: u64) -> Result<Vec<u8>, Fault> {
        let length = self.unsigned(length_bytes)?;
        self.input.take(length)
    }

    fn line_bytes(&mut self) -> Result<Vec<u8>, Fault> {
        let at = self.input.position();
        let mut line = Vec::new();
        loop {
            match self.input.byte()? {
                b'\n' => return Ok(line),
                _ if line.len() >= MAX_LINE => {
                    return Err(Fault::hostile(
                        at,
                        format!("a line of more than {MAX_LINE} bytes"),
                    ));
                }
                byte => line.push(byte),
            }
        }
    }

    fn line(&mut self) -> Result<String, Fault> {
        let at = self.input.position();
        String::from_utf8(self.line_bytes()?).map_err(|_| Fault::Malformed {
            offset: at,
            problem: "a line of text is not UTF-8".into(),
            fix: DAMAGED,
        })
    }

    fn line_number(&mut self) -> Result<u64, Fault> {
        let at = self.input.position();
        let line = self.line()?;
        line.parse().map_err(|_| Fault::damaged(at, format!("{line:?} is not a memo index")))
    }
}

fn pairs(flat: Vec<Id>, at: u64) -> Result<Vec<(Id, Id)>, Fault> {
    if flat.len() % 2 == 1 {
        return Err(Fault::damaged(at, "a key without a value"));
    }
    Ok(flat.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
