//! Settings of the host: config file < environment < flags, and which of them
//! won.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::{Exit, Failure};
use crate::api::ServeOptions;
use crate::policies::nearest;

/// Read when no other file is named and it exists.
const FILE: &str = "/etc/loadmaster/loadmaster.toml";

/// Bytes of a config file: forgiving, and not a device that never ends.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Whether a text is a value of the setting, and what would be.
type Check = fn(&str) -> Result<(), String>;

struct Setting {
    key: &'static str,
    about: &'static str,
    default: &'static str,
    check: Check,
}

const SETTINGS: [Setting; 10] = [
    Setting {
        key: "listen",
        about: "address and port of the HTTP API",
        default: "127.0.0.1:7070",
        check: |text| parsed::<SocketAddr>(text, "an address and a port like 127.0.0.1:7070"),
    },
    Setting {
        key: "data-dir",
        about: "where state is kept; none keeps nothing",
        default: "",
        check: |_| Ok(()),
    },
    Setting {
        key: "insecure-public",
        about: "listen on an address others can reach, without TLS and logins",
        default: "false",
        check: |text| parsed::<bool>(text, "true or false"),
    },
    Setting {
        key: "shipped-policies",
        about: "register the policies that come with the binary",
        default: "true",
        check: |text| parsed::<bool>(text, "true or false"),
    },
    Setting {
        key: "log",
        about: "what is logged, e.g. info or loadmaster=debug,warn",
        default: "info",
        check: |_| Ok(()),
    },
    Setting {
        key: "score-cache-mib",
        about: "memory for remembered scores",
        default: "256",
        check: |text| within(text, 1, 1 << 20),
    },
    Setting {
        key: "pending-max",
        about: "pods that may wait; more are refused",
        default: "200000",
        check: |text| within(text, 1, 10_000_000),
    },
    Setting {
        key: "leave-one-out",
        about: "record who would win without each policy of a set",
        default: "true",
        check: |text| parsed::<bool>(text, "true or false"),
    },
    Setting {
        key: "journal-retain-mib",
        about: "journal kept for audit beyond what recovery needs",
        default: "1024",
        check: |text| within(text, 0, 1 << 24),
    },
    Setting {
        key: "min-free-mib",
        about: "changes are refused below this much free disk",
        default: "512",
        check: |text| within(text, 16, 1 << 24),
    },
];

fn parsed<T: std::str::FromStr>(text: &str, expected: &str) -> Result<(), String> {
    text.parse::<T>()
        .map(|_| ())
        .map_err(|_| format!("expected {expected}"))
}

fn within(text: &str, from: u64, to: u64) -> Result<(), String> {
    let value = text.parse::<u64>().ok();
    value
        .filter(|v| (from..=to).contains(v))
        .map(|_| ())
        .ok_or_else(|| format!("expected a whole number from {from} to {to}"))
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Flags that override everything else.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Config file (TOML); /etc/loadmaster/loadmaster.toml if it exists
    #[arg(long, value_name = "FILE", env = "LOADMASTER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where state is kept; none keeps nothing
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Listen on a public address without TLS and logins
    #[arg(long)]
    pub insecure_public: bool,
    /// Any other setting; `config show` lists them
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// Every setting with its value and origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config(BTreeMap<&'static str, (String, Origin)>);

impl Config {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// A file that cannot be read, a key nobody knows, a value out of bounds.
    pub fn read(
        flags: &Flags,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let mut config = Self(
            SETTINGS
                .iter()
                .map(|s| (s.key, (s.default.to_owned(), Origin::Default)))
                .collect(),
        );
        let default = Path::new(FILE);
        let file = match &flags.config {
            Some(file) => Some(file.as_path()),
            None => default.exists().then_some(default),
        };
        if let Some(file) = file {
            for (key, value) in read_file(file)? {
                config.set(&key, value, Origin::File(file.to_owned()))?;
            }
        }
        for setting in &SETTINGS {
            let name = variable(setting.key);
            if let Some(value) = environment(&name) {
                config.set(setting.key, value, Origin::Environment(name))?;
            }
        }
        for pair in &flags.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Failure::new(Exit::Usage, format!("--set {pair:?} is not KEY=VALUE"))
            })?;
            config.set(key.trim(), value.trim().to_owned(), Origin::Flag("--set"))?;
        }
        let flag = |value: &Option<String>| value.clone();
        if let Some(value) = flag(&flags.listen) {
            config.set("listen", value, Origin::Flag("--listen"))?;
        }
        if let Some(value) = flag(&flags.data_dir) {
            config.set("data-dir", value, Origin::Flag("--data-dir"))?;
        }
        if flags.insecure_public {
            let origin = Origin::Flag("--insecure-public");
            config.set("insecure-public", "true".to_owned(), origin)?;
        }
        if config.text("data-dir").is_empty() {
            let place = (data_dir(&environment), Origin::Default);
            config.0.insert("data-dir", place);
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: String, origin: Origin) -> Result<(), Failure> {
        let Some(setting) = SETTINGS.iter().find(|s| s.key == key) else {
            let near = nearest(key, SETTINGS.iter().map(|s| s.key));
            return Err(Failure::new(
                Exit::Usage,
                format!("{origin}: there is no setting {key:?}"),
            )
            .maybe_hint(near.map(|near| format!("did you mean {near:?}?")))
            .hint("`loadmaster config show` lists every setting"));
        };
        (setting.check)(&value).map_err(|problem| {
            Failure::new(
                Exit::Usage,
                format!("{origin}: {key} = {value:?}: {problem}"),
            )
        })?;
        self.0.insert(setting.key, (value, origin));
        Ok(())
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", |(value, _)| value)
    }

    /// A checked value; the default of the type cannot occur.
    fn value<T: std::str::FromStr + Default>(&self, key: &str) -> T {
        self.text(key).parse().unwrap_or_default()
    }

    /// Key, value, origin and meaning of every setting.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str, &Origin, &'static str)> {
        SETTINGS.iter().filter_map(|s| {
            let (value, origin) = self.0.get(s.key)?;
            Some((s.key, value.as_str(), origin, s.about))
        })
    }

    /// What the log shows.
    #[must_use]
    pub fn log(&self) -> &str {
        self.text("log")
    }

    /// As the server takes it.
    #[must_use]
    pub fn options(&self) -> ServeOptions {
        let mib = |key| self.value::<u64>(key) << 20;
        let mut options = ServeOptions {
            data_dir: match self.text("data-dir") {
                "none" => None,
                dir => Some(PathBuf::from(dir)),
            },
            insecure_public: self.value("insecure-public"),
            shipped: self.value("shipped-policies"),
            ..ServeOptions::default()
        };
        if let Ok(listen) = self.text("listen").parse() {
            options.listen = listen;
        }
        options.daemon.engine.cache_bytes = mib("score-cache-mib") as usize;
        options.daemon.engine.pending_max = self.value("pending-max");
        options.daemon.engine.leave_one_out = self.value("leave-one-out");
        options.daemon.store.retain_bytes = mib("journal-retain-mib");
        options.daemon.store.min_free_bytes = mib("min-free-mib");
        options
    }
}

/// `data-dir` as `LOADMASTER_DATA_DIR`.
fn variable(key: &str) -> String {
    format!("LOADMASTER_{}", key.replace('-', "_").to_uppercase())
}

/// The data directory of a user who named none.
fn data_dir(environment: &impl Fn(&str) -> Option<String>) -> String {
    let data = environment("XDG_DATA_HOME").filter(|d| d.starts_with('/'));
    let data = data.or_else(|| environment("HOME").map(|home| format!("{home}/.local/share")));
    match data {
        Some(data) => format!("{data}/loadmaster/host"),
        None => "/var/lib/loadmaster".to_owned(),
    }
}

fn read_file(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let shown = path.display();
    let failed = |problem: String| Failure::new(Exit::Usage, format!("{shown}: {problem}"));
    let bytes = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(failed(format!("larger than {FILE_BYTES_MAX} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |s| {
            1 + text[..s.start.min(text.len())].matches('\n').count()
        });
        Failure::new(Exit::Usage, format!("{shown}:{line}: {}", e.message()))
    })?;
    table
        .into_iter()
        .map(|(key, value)| match value {
            toml::Value::String(text) => Ok((key, text)),
            toml::Value::Integer(n) => Ok((key, n.to_string())),
            toml::Value::Boolean(b) => Ok((key, b.to_string())),
            other => Err(failed(format!(
                "{key} is a {}, expected text, a whole number, true or false",
                other.type_str()
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/home/ana".to_owned()),
            "LOADMASTER_PENDING_MAX" => Some("7".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let dir = std::env::temp_dir().join(format!("loadmaster-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("host.toml");
        std::fs::write(
            &file,
            "pending-max = 5\nscore-cache-mib = 64\nlog = \"warn\"\n",
        )
        .unwrap();
        let flags = Flags {
            config: Some(file.clone()),
            listen: Some("127.0.0.1:0".to_owned()),
            set: vec!["log=debug".to_owned()],
            ..Flags::default()
        };
        let config = Config::read(&flags, environment).unwrap();
        let shown: Vec<(&str, &str, String)> = config
            .iter()
            .map(|(k, v, o, _)| (k, v, o.to_string()))
            .filter(|(.., o)| o != "default")
            .collect();
        let expected = [
            ("listen", "127.0.0.1:0", "flag --listen".to_owned()),
            ("log", "debug", "flag --set".to_owned()),
            ("score-cache-mib", "64", file.display().to_string()),
            (
                "pending-max",
                "7",
                "environment LOADMASTER_PENDING_MAX".to_owned(),
            ),
        ];
        assert_eq!(shown, expected);
        let options = config.options();
        assert_eq!(options.daemon.engine.cache_bytes, 64 << 20);
        assert_eq!(
            options.data_dir,
            Some(PathBuf::from("/home/ana/.local/share/loadmaster/host"))
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_wrong_and_where() {
        let set = |text: &str| {
            let flags = Flags {
                set: vec![text.to_owned()],
                ..Flags::default()
            };
            Config::read(&flags, |_| None).unwrap_err()
        };
        let failure = set("pending-mx=3");
        assert_eq!(
            failure.what,
            "flag --set: there is no setting \"pending-mx\""
        );
        assert_eq!(failure.hints[0], "did you mean \"pending-max\"?");
        assert_eq!(
            set("pending-max=0").what,
            "flag --set: pending-max = \"0\": expected a whole number from 1 to 10000000"
        );
        assert_eq!(set("listen=localhost").exit, Exit::Usage);
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for setting in SETTINGS.iter().filter(|s| s.key != "data-dir") {
            assert_eq!((setting.check)(setting.default), Ok(()), "{}", setting.key);
        }
    }
}
