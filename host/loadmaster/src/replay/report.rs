//! One self-contained HTML page: light and dark, printable, no outside request
//! and no script.

use super::chart::escape;

/// A part of the page. Its body is HTML.
#[derive(Debug, Clone)]
pub struct Section {
    /// Heading.
    pub heading: String,
    /// A sentence under it.
    pub text: String,
    /// Chart or table.
    pub body: String,
}

/// The page.
#[derive(Debug, Clone)]
pub struct Report {
    /// Title and first heading.
    pub title: String,
    /// What was run, in a line.
    pub subtitle: String,
    /// Big numbers: value, what it is.
    pub facts: Vec<(String, String)>,
    /// In order.
    pub sections: Vec<Section>,
    /// The command that makes this page again.
    pub command: String,
}

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c1f23;--soft:#5c6570;--rule:#e3e5e8;\
--c0:#0b6e99;--c1:#c2410c;--c2:#4d7c0f;--c3:#7e22ce;--c4:#a16207;--c5:#be185d;--c6:#475569;--c7:#0f766e}\
@media(prefers-color-scheme:dark){:root{--bg:#121417;--card:#1a1d21;--ink:#e8eaed;--soft:#9aa4af;--rule:#2c3137;\
--c0:#4cc2f1;--c1:#fb923c;--c2:#a3e635;--c3:#c79bff;--c4:#facc15;--c5:#f472b6;--c6:#a8b3c2;--c7:#2dd4bf}}\
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);\
font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 4rem}\
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .25rem}h2{font-size:1.1rem;margin:0 0 .25rem}\
p{margin:.25rem 0 1rem;color:var(--soft);max-width:46rem}\
.facts{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.5rem 0}\
.fact{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:.7rem 1rem;min-width:9rem}\
.fact b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}.fact span{color:var(--soft);font-size:.85rem}\
section{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:1.25rem;margin:1.25rem 0;overflow-x:auto}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem;min-width:100%}\
th,td{padding:.3rem .75rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}\
th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid var(--rule)}\
tr.part td{color:var(--soft);font-weight:600;padding-top:.9rem}tr:last-child td{border-bottom:0}\
.best{font-weight:700}.chart{width:100%;height:auto;display:block}\
.chart text{fill:var(--ink);font-size:12px}.chart .tick{fill:var(--soft);font-variant-numeric:tabular-nums}.chart .label{fill:var(--soft)}\
.grid{stroke:var(--rule)}.axis{stroke:var(--soft)}\
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}.ref{stroke-width:1.4;stroke-dasharray:5 4}\
.band{opacity:.16;stroke:none}.mark{stroke:var(--card);stroke-width:1.2}.lead{stroke-width:1;opacity:.45;fill:none}\
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}.c6{stroke:var(--c6)}.c7{stroke:var(--c7)}\
path.line.c1:not(.ref){stroke-dasharray:9 3}path.line.c2:not(.ref){stroke-dasharray:2 3}path.line.c3:not(.ref){stroke-dasharray:12 3 2 3}\
.band.c0,.mark.c0,text.c0{fill:var(--c0)}.band.c1,.mark.c1,text.c1{fill:var(--c1)}.band.c2,.mark.c2,text.c2{fill:var(--c2)}.band.c3,.mark.c3,text.c3{fill:var(--c3)}\
.band.c4,.mark.c4,text.c4{fill:var(--c4)}.band.c5,.mark.c5,text.c5{fill:var(--c5)}.band.c6,.mark.c6,text.c6{fill:var(--c6)}.band.c7,.mark.c7,text.c7{fill:var(--c7)}\
.band{stroke:none!important}.chart text.name{stroke:none;font-weight:600}\
code{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--bg);padding:.15rem .35rem;border-radius:4px;overflow-wrap:anywhere}\
footer{color:var(--soft);font-size:.85rem}@media print{section{break-inside:avoid}}";

impl Report {
    /// The page.
    #[must_use]
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
             <title>{title}</title><style>{STYLE}</style></head>\n<body><main>\n\
             <h1>{title}</h1><p>{}</p>\n<div class=\"facts\">",
            escape(&self.subtitle)
        );
        for (value, what) in &self.facts {
            page += &format!(
                "<div class=\"fact\"><b>{}</b><span>{}</span></div>",
                escape(value),
                escape(what)
            );
        }
        page += "</div>\n";
        for section in &self.sections {
            page += &format!(
                "<section><h2>{}</h2><p>{}</p>{}</section>\n",
                escape(&section.heading),
                escape(&section.text),
                section.body
            );
        }
        page += &format!(
            "<footer><p>Made by loadmaster {} with</p><code>{}</code></footer>\n</main></body></html>\n",
            env!("CARGO_PKG_VERSION"),
            escape(&self.command)
        );
        page
    }
}
