//! What the bytes are, before anything is compiled.
//!
//! Compiling is the weakest wall: a valid file of 8 KB can take gigabytes. This
//! filter reads the file once, iteratively, allocates almost nothing, and knows
//! the amounts that make compilers slow. It also reads which contract the
//! component was built for. It does not validate: the compile child does.

use std::fmt;

use wasmparser::{
    BinaryReaderError, ComponentExternalKind, Encoding, FunctionBody, Operator, Parser, Payload,
};

use crate::limits::{PAGE_BYTES, ShapeLimits};
use crate::log::escape;
use model::PolicyKind;

/// Package whose interfaces are the contract.
pub const PACKAGE: &str = "loadmaster:policy";

/// Released contract versions this host serves, newest first. One row a version.
pub const CONTRACT_VERSIONS: &[&str] = &["0.1.0"];

/// What a component says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// The interface it exports.
    pub kind: PolicyKind,
    /// Version of the contract package it was built against.
    pub version: String,
}

/// The amounts found while reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Bytes of the file.
    pub bytes: u64,
    /// Core modules.
    pub modules: u64,
    /// Functions with a body.
    pub functions: u64,
    /// Bytes of the largest body.
    pub largest_body_bytes: u64,
    /// Most loops of one function.
    pub most_loops: u64,
    /// Data and element segments.
    pub segments: u64,
    /// Initial bytes of all memories.
    pub memory_bytes: u64,
}

/// The result of reading a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// What it says it is.
    pub contract: Contract,
    /// Names imported by the component.
    pub imports: Vec<String>,
    /// Names exported by the component.
    pub exports: Vec<String>,
    /// What was counted.
    pub amounts: Amounts,
}

/// A limit of [`ShapeLimits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of ShapeLimits document each")]
pub enum Limit {
    Modules,
    Nesting,
    Functions,
    BodyBytes,
    Locals,
    BlockNesting,
    Loops,
    Params,
    Results,
    BrTableTargets,
    Segments,
    MemoryBytes,
    TableElements,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Modules => "core modules",
            Self::Nesting => "nested components",
            Self::Functions => "functions",
            Self::BodyBytes => "bytes in one function body",
            Self::Locals => "locals in one function",
            Self::BlockNesting => "nested blocks",
            Self::Loops => "loops in one function",
            Self::Params => "parameters of one function type",
            Self::Results => "results of one function or block type",
            Self::BrTableTargets => "br_table targets in one function",
            Self::Segments => "data and element segments",
            Self::MemoryBytes => "initial bytes of memory",
            Self::TableElements => "initial elements of one table",
        })
    }
}

/// Where a limit was passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Core module, in the order of the file.
    pub module: u64,
    /// Function inside the module, imports counted, as tools number them.
    pub function: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "module {}", self.module)?;
        match self.function {
            Some(function) => write!(f, ", function {function}"),
            None => Ok(()),
        }
    }
}

/// Why the bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Longer than the profile allows.
    #[error("component has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// No WebAssembly at all.
    #[error("not WebAssembly: the first four bytes are not `\\0asm`")]
    NotWasm,
    /// Machine code. Never loaded from outside: it is trusted input.
    #[error("precompiled code is not accepted; give the component itself")]
    Precompiled,
    /// A core module where a component is needed.
    #[error("a core module, not a component")]
    CoreModule,
    /// Cut off or damaged.
    #[error("malformed at byte {offset}: {message}")]
    Malformed {
        /// Where reading stopped.
        offset: u64,
        /// What the reader expected.
        message: String,
    },
    /// One amount is past its limit.
    #[error("too many {limit}: {value}, the limit is {max} ({place})")]
    Limit {
        /// Which limit.
        limit: Limit,
        /// What was found, at least.
        value: u64,
        /// What is allowed.
        max: u64,
        /// Where.
        place: Place,
    },
    /// It exports no interface of the contract.
    #[error("exports no policy interface ({})", list(.exports))]
    NoPolicy {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// It exports several.
    #[error("exports more than one policy interface ({})", list(.exports))]
    SeveralPolicies {
        /// Which.
        exports: Vec<String>,
    },
    /// Built for a contract this host does not serve.
    #[error("built for {PACKAGE}@{found}; this host serves {}", CONTRACT_VERSIONS.join(", "))]
    UnsupportedVersion {
        /// Version it was built for.
        found: String,
    },
    /// It wants something that is not granted.
    #[error("imports {import}, which is not granted")]
    UnknownImport {
        /// Full name of the import.
        import: String,
    },
}

/// Names in one error message.
const NAMES_SHOWN: usize = 8;
/// Bytes of a name in an error: anything may stand there before validation.
const NAME_BYTES_SHOWN: usize = 200;

fn list(names: &[String]) -> String {
    match names {
        [] => "it exports nothing".to_owned(),
        names if names.len() <= NAMES_SHOWN => names.join(", "),
        names => format!(
            "{} and {} more",
            names[..NAMES_SHOWN].join(", "),
            names.len() - NAMES_SHOWN
        ),
    }
}

fn shown(name: &str) -> String {
    escape(name, NAME_BYTES_SHOWN).0
}

/// Reads `bytes` and checks them against `limits`.
///
/// # Errors
/// The first reason to refuse them.
pub fn check(bytes: &[u8], limits: &ShapeLimits) -> Result<Shape, ShapeError> {
    let size = bytes.len() as u64;
    if size > limits.component_bytes {
        return Err(ShapeError::TooLarge {
            bytes: size,
            limit: limits.component_bytes,
        });
    }
    header(bytes)?;
    let mut scan = Scan::new(limits, size);
    for payload in Parser::new(0).parse_all(bytes) {
        scan.payload(payload.map_err(malformed)?)?;
    }
    scan.finish()
}

/// The first eight bytes decide between "something else" and "damaged".
fn header(bytes: &[u8]) -> Result<(), ShapeError> {
    if bytes.starts_with(b"\x7fELF") {
        return Err(ShapeError::Precompiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ShapeError::NotWasm);
    }
    if bytes.get(4..8) == Some(&[1, 0, 0, 0]) {
        return Err(ShapeError::CoreModule);
    }
    Ok(())
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err wants"
)]
fn malformed(error: BinaryReaderError) -> ShapeError {
    ShapeError::Malformed {
        offset: error.offset() as u64,
        message: error.message().to_owned(),
    }
}

/// What is being read: the component itself or something inside it.
struct Level {
    encoding: Encoding,
    /// Functions of a core module seen so far, imports first.
    functions: u64,
}

struct Scan<'l> {
    limits: &'l ShapeLimits,
    amounts: Amounts,
    levels: Vec<Level>,
    imports: Vec<String>,
    exports: Vec<(String, ComponentExternalKind)>,
}

impl<'l> Scan<'l> {
    fn new(limits: &'l ShapeLimits, bytes: u64) -> Self {
        Self {
            limits,
            amounts: Amounts {
                bytes,
                ..Amounts::default()
            },
            levels: Vec::new(),
            imports: Vec::new(),
            exports: Vec::new(),
        }
    }

    fn place(&self, function: Option<u64>) -> Place {
        Place {
            module: self.amounts.modules.saturating_sub(1),
            function,
        }
    }

    fn bound(
        &self,
        limit: Limit,
        value: u64,
        max: u64,
        function: Option<u64>,
    ) -> Result<(), ShapeError> {
        if value > max {
            return Err(ShapeError::Limit {
                limit,
                value,
                max,
                place: self.place(function),
            });
        }
        Ok(())
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), ShapeError> {
        let limits = self.limits;
        match payload {
            Payload::Version { encoding, .. } => {
                if encoding == Encoding::Module {
                    self.amounts.modules += 1;
                    let modules = self.amounts.modules;
                    self.bound(Limit::Modules, modules, limits.modules, None)?;
                }
                self.levels.push(Level {
                    encoding,
                    functions: 0,
                });
                let nested = self.levels.len() as u64 - 1;
                self.bound(Limit::Nesting, nested, limits.nesting, None)?;
            }
            Payload::End(_) => {
                self.levels.pop();
            }
            Payload::TypeSection(reader) => {
                for group in reader {
                    for ty in group.map_err(malformed)?.types() {
                        if let wasmparser::CompositeInnerType::Func(f) = &ty.composite_type.inner {
                            let params = f.params().len() as u64;
                            let results = f.results().len() as u64;
                            self.bound(Limit::Params, params, limits.params, None)?;
                            self.bound(Limit::Results, results, limits.results, None)?;
                        }
                    }
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import.map_err(malformed)?;
                    if matches!(
                        import.ty,
                        wasmparser::TypeRef::Func(_) | wasmparser::TypeRef::FuncExact(_)
                    ) && let Some(level) = self.levels.last_mut()
                    {
                        level.functions += 1;
                    }
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    let memory = memory.map_err(malformed)?;
                    let bytes = memory.initial.saturating_mul(PAGE_BYTES);
                    let total = self.amounts.memory_bytes.saturating_add(bytes);
                    self.amounts.memory_bytes = total;
                    self.bound(Limit::MemoryBytes, total, limits.memory_bytes, None)?;
                }
            }
            Payload::TableSection(reader) => {
                for table in reader {
                    let elements = table.map_err(malformed)?.ty.initial;
                    self.bound(Limit::TableElements, elements, limits.table_elements, None)?;
                }
            }
            Payload::ElementSection(reader) => self.segments(reader.count())?,
            Payload::DataSection(reader) => self.segments(reader.count())?,
            Payload::CodeSectionEntry(body) => self.function(&body)?,
            Payload::ComponentImportSection(reader) if self.levels.len() == 1 => {
                for import in reader {
                    let name = import.map_err(malformed)?.name.name;
                    self.imports.push(name.to_owned());
                }
            }
            Payload::ComponentExportSection(reader) if self.levels.len() == 1 => {
                for export in reader {
                    let export = export.map_err(malformed)?;
                    self.exports
                        .push((export.name.name.to_owned(), export.kind));
                }
            }
            // Component types are left to the child: reading them recurses.
            _ => {}
        }
        Ok(())
    }

    fn segments(&mut self, count: u32) -> Result<(), ShapeError> {
        self.amounts.segments += u64::from(count);
        let (found, max) = (self.amounts.segments, self.limits.segments);
        self.bound(Limit::Segments, found, max, None)
    }

    fn function(&mut self, body: &FunctionBody<'_>) -> Result<(), ShapeError> {
        let limits = self.limits;
        let index = self.levels.last_mut().map_or(0, |level| {
            level.functions += 1;
            level.functions - 1
        });
        let at = Some(index);
        self.amounts.functions += 1;
        let functions = self.amounts.functions;
        self.bound(Limit::Functions, functions, limits.functions, at)?;
        let size = body.range().len() as u64;
        self.amounts.largest_body_bytes = self.amounts.largest_body_bytes.max(size);
        self.bound(Limit::BodyBytes, size, limits.body_bytes, at)?;

        let mut locals = 0u64;
        for group in body.get_locals_reader().map_err(malformed)? {
            locals += u64::from(group.map_err(malformed)?.0);
            self.bound(Limit::Locals, locals, limits.locals, at)?;
        }

        let (mut depth, mut loops, mut targets) = (0u64, 0u64, 0u64);
        let mut operators = body.get_operators_reader().map_err(malformed)?;
        while !operators.eof() {
            match operators.read().map_err(malformed)? {
                Operator::Loop { .. } => {
                    loops += 1;
                    depth += 1;
                    self.bound(Limit::Loops, loops, limits.loops, at)?;
                    self.bound(Limit::BlockNesting, depth, limits.block_nesting, at)?;
                }
                Operator::Block { .. } | Operator::If { .. } => {
                    depth += 1;
                    self.bound(Limit::BlockNesting, depth, limits.block_nesting, at)?;
                }
                Operator::End => depth = depth.saturating_sub(1),
                Operator::BrTable { targets: table } => {
                    targets += u64::from(table.len());
                    let max = limits.br_table_targets;
                    self.bound(Limit::BrTableTargets, targets, max, at)?;
                }
                _ => {}
            }
        }
        self.amounts.most_loops = self.amounts.most_loops.max(loops);
        Ok(())
    }

    fn finish(self) -> Result<Shape, ShapeError> {
        debug_assert!(
            self.levels.is_empty() || self.levels[0].encoding == Encoding::Component,
            "the header was checked"
        );
        let exports: Vec<String> = self.exports.iter().map(|(n, _)| n.clone()).collect();
        let contract = contract(&self.exports)?;
        for import in &self.imports {
            if !granted(import, &contract) {
                return Err(ShapeError::UnknownImport {
                    import: shown(import),
                });
            }
        }
        Ok(Shape {
            contract,
            imports: self.imports,
            exports,
            amounts: self.amounts,
        })
    }
}

/// `loadmaster:policy/scoring@0.1.0` → (`scoring`, `0.1.0`).
fn split(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    rest.split_once('@')
}

/// Other exports are tolerated: interpreter tool chains add `init` or `exports`.
fn contract(exports: &[(String, ComponentExternalKind)]) -> Result<Contract, ShapeError> {
    let policies: Vec<(&String, PolicyKind, &str)> = exports
        .iter()
        .filter(|(_, kind)| *kind == ComponentExternalKind::Instance)
        .filter_map(|(name, _)| {
            let (interface, version) = split(name)?;
            Some((name, PolicyKind::parse(interface)?, version))
        })
        .collect();
    let (_, kind, version) = match policies.as_slice() {
        [one] => *one,
        [] => {
            return Err(ShapeError::NoPolicy {
                exports: exports.iter().map(|(n, _)| shown(n)).collect(),
            });
        }
        several => {
            return Err(ShapeError::SeveralPolicies {
                exports: several.iter().map(|(n, ..)| shown(n)).collect(),
            });
        }
    };
    if !CONTRACT_VERSIONS.contains(&version) {
        return Err(ShapeError::UnsupportedVersion {
            found: shown(version),
        });
    }
    Ok(Contract {
        kind,
        version: version.to_owned(),
    })
}

/// `log` is the only import with functions. `types`, and `scoring` for a kind
/// that uses its records, are imported for their types; the linker offers no
/// function under those names, so one that asks for more does not link.
fn granted(import: &str, contract: &Contract) -> bool {
    split(import).is_some_and(|(interface, version)| {
        version == contract.version
            && match interface {
                "log" | "types" => true,
                "scoring" => contract.kind == PolicyKind::Preemption,
                _ => false,
            }
    })
}
