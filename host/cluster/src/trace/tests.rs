use proptest::prelude::*;

use super::{TraceError, openb, philly, series};

fn error<T: std::fmt::Debug>(result: Result<T, TraceError>) -> String {
    result.unwrap_err().to_string()
}

const NODES: &str = "sn,cpu_milli,memory_mib,gpu,model\nn0,64000,262144,2,P100\nn1,96000,1,0,\n";
const PODS: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos\n\
                    p0,12000,16384,1,460,V100M16|V100M32,LS\np1,1000,2,0,0,,BE\n";

#[test]
fn reads_nodes_and_pods() {
    let nodes = openb::nodes(NODES.as_bytes(), "nodes.csv").unwrap();
    assert_eq!(nodes.len(), 2);
    assert_eq!(nodes[0].gpus.len(), 2);
    assert_eq!(nodes[0].gpus[1].model, "P100");
    assert_eq!(nodes[0].capacity.memory_mib, 262_144);
    assert_eq!(nodes[0].links, None);
    assert!(nodes[1].gpus.is_empty());
    let pods = openb::pods(PODS.as_bytes(), "pods.csv").unwrap();
    assert_eq!(pods[0].gpu.total_milli(), 460);
    assert_eq!(pods[0].gpu.models, ["V100M16", "V100M32"]);
    assert_eq!(pods[1].gpu.count, 0);
}

#[test]
fn columns_may_come_in_any_order_with_crlf_and_bom() {
    let text = "\u{feff}gpu_milli,num_gpu,extra,name,memory_mib,cpu_milli\r\n\
                1000,2,x,p,3,4\r\n\r\n";
    let pods = openb::pods(text.as_bytes(), "p").unwrap();
    assert_eq!(pods.len(), 1);
    assert_eq!((pods[0].gpu.count, pods[0].gpu.milli), (2, 1000));
    assert_eq!(pods[0].requests.cpu_milli, 4);
    // No line end after the last row.
    assert!(openb::pods(text.trim_end().as_bytes(), "p").is_ok());
}

#[test]
fn pod_errors_say_where_what_and_what_instead() {
    const HEADER: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n";
    let check = |rows: &str, expected: &str| {
        let text = format!("{HEADER}{rows}");
        assert_eq!(error(openb::pods(text.as_bytes(), "pods.csv")), expected);
    };
    check(
        "a,1,1,1,1000\nb,1,1,1,abc\n",
        "pods.csv:3: column 5 (gpu_milli): found \"abc\", expected an integer from 0 to 1000",
    );
    check(
        "a,-1,1,1,1000\n",
        "pods.csv:2: column 2 (cpu_milli): found \"-1\", expected an integer from 0 to 1099511627776",
    );
    check(
        "a,1,99999999999999999999,1,1000\n",
        "pods.csv:2: column 3 (memory_mib): found \"99999999999999999999\", expected an integer from 0 to 1099511627776",
    );
    check(
        "a,1,1,1,1001\n",
        "pods.csv:2: column 5 (gpu_milli): found \"1001\", expected an integer from 0 to 1000",
    );
    check(
        "a,1,1,17,1000\n",
        "pods.csv:2: column 4 (num_gpu): found \"17\", expected an integer from 0 to 16",
    );
    check(
        "a,1,1,0,500\n",
        "pods.csv:2: column 5 (gpu_milli): found \"500\", expected 0, because num_gpu is 0",
    );
    check(
        "a,1,1,2,500\n",
        "pods.csv:2: 2 GPUs with a share of 500 milli-GPU: only a single GPU can be shared",
    );
    check(
        "a,1,1,1,0\n",
        "pods.csv:2: a GPU share of 0 milli-GPU is not between 1 and 1000",
    );
    check(
        "a,1,1,1,1000\na,1,1,1,1000\n",
        "pods.csv:3: column 1 (name): found \"a\", which line 2 already has; expected a unique name",
    );
    check(
        "a b,1,1,1,1000\n",
        "pods.csv:2: column 1 (name): found \"a b\", expected a name of 1 to 253 characters of [A-Za-z0-9._/-]",
    );
    check(
        "a,1,1,1\n",
        "pods.csv:2: found 4 columns, expected 5 as in the header",
    );
    check(
        "a,1,1,1,1000\n\nb,1,1,1,1000\n",
        "pods.csv:3: found 0 columns, expected 5 as in the header",
    );
    check(
        "",
        "pods.csv: no rows after the header, expected at least one pod",
    );
    let spec = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\na,1,1,1,1000,T4||G2\n";
    assert_eq!(
        error(openb::pods(spec.as_bytes(), "pods.csv")),
        "pods.csv:2: column 6 (gpu_spec): found \"T4||G2\", expected GPU models separated by |",
    );
}

#[test]
fn header_errors() {
    let check = |text: &[u8], expected: &str| {
        assert_eq!(error(openb::nodes(text, "n.csv")), expected);
    };
    check(
        b"",
        "n.csv: the file is empty, expected a header with the columns sn,cpu_milli,memory_mib,gpu,model",
    );
    check(
        b"sn,cpu_milli,memory_mib,model\n",
        "n.csv:1: the header has no column \"gpu\"; found \"sn,cpu_milli,memory_mib,model\", expected the columns sn,cpu_milli,memory_mib,gpu,model",
    );
    check(
        b"sn,sn,cpu_milli,memory_mib,gpu,model\n",
        "n.csv:1: the header names column \"sn\" twice",
    );
    check(b"\xff\xfe\n", "n.csv:1: the line is not UTF-8 text");
    check(
        b"sn,cpu_milli,memory_mib,gpu,model\n\xff,1,1,1,T4\n",
        "n.csv:2: the line is not UTF-8 text",
    );
    check(
        b"sn,cpu_milli,memory_mib,gpu,model\na,1,1,2,\n",
        "n.csv:2: column 5 (model): found \"\", expected the model of the node's 2 GPUs",
    );
    let long = vec![b'x'; super::table::LINE_BYTES_MAX + 1];
    check(&long, "n.csv:1: the line is longer than 65536 bytes");
    assert_eq!(
        error(super::open(std::path::Path::new("/nonexistent/nodes.csv"))),
        "/nonexistent/nodes.csv: cannot read the file"
    );
}

#[test]
fn reads_gang_jobs_and_their_cluster() {
    let cluster =
        "num_switch,num_node_p_switch,num_gpu_p_node,num_cpu_p_node,mem_p_node\n1,8,8,92,520";
    let spec = philly::cluster(cluster.as_bytes(), "c").unwrap();
    assert_eq!((spec.nodes, spec.gpus_per_node, spec.gpus()), (8, 8, 64));
    let jobs = "job_id,num_gpu,submit_time,iterations,model_name,batch_size,duration,iteration_time\r\n\
                7,2,1500,100,vgg16,16,9000,90\r\n";
    let jobs = philly::jobs(jobs.as_bytes(), "j").unwrap();
    assert_eq!(jobs[0].id, "7");
    assert_eq!(jobs[0].submit_ms, 1500);
    assert_eq!(jobs[0].iteration_ms, 90);
    assert_eq!(jobs[0].duration_ms, Some(9000));
}

#[test]
fn gang_errors() {
    const HEADER: &str = "job_id,num_gpu,submit_time,iterations,model_name,iteration_time\n";
    let check = |rows: &str, expected: &str| {
        let text = format!("{HEADER}{rows}");
        assert_eq!(error(philly::jobs(text.as_bytes(), "j.csv")), expected);
    };
    check(
        "1,0,0,1,m,1\n",
        "j.csv:2: column 2 (num_gpu): found \"0\", expected an integer from 1 to 1048576",
    );
    check(
        "1,1,-5,1,m,1\n",
        "j.csv:2: column 3 (submit_time): found \"-5\", expected an integer from 0 to 1000000000000",
    );
    check(
        "1,1,0,1,m,0.5\n",
        "j.csv:2: column 6 (iteration_time): found \"0.5\", expected an integer from 1 to 3600000",
    );
    check(
        "1,1,0,1,m,1\n1,1,0,1,m,1\n",
        "j.csv:3: column 1 (job_id): found \"1\", which line 2 already has; expected a unique name",
    );
    check(
        "",
        "j.csv: no rows after the header, expected at least one job",
    );
    let cluster = |rows: &str| {
        let text = format!("num_switch,num_node_p_switch,num_gpu_p_node\n{rows}");
        error(philly::cluster(text.as_bytes(), "c.csv"))
    };
    assert_eq!(
        cluster(""),
        "c.csv: no rows after the header, expected at least one row describing the cluster"
    );
    assert_eq!(
        cluster("1,8,8\n1,8,8\n"),
        "c.csv:3: a second row, expected one row describing the cluster"
    );
    assert_eq!(
        cluster("1000000,1000000,1000000\n"),
        "c.csv:2: the cluster has 1000000000000000000 GPUs, expected at most 1048576"
    );
}

#[test]
fn reads_series() {
    let text = "t_seconds,value\n0,3\n60,4.5\n120,0\n";
    let series = series::series(text.as_bytes(), "s").unwrap();
    assert_eq!(series.step_s, 60);
    assert_eq!(series.values, [3.0, 4.5, 0.0]);
}

#[test]
fn series_errors() {
    let check = |rows: &str, expected: &str| {
        let text = format!("t_seconds,value\n{rows}");
        assert_eq!(error(series::series(text.as_bytes(), "s.csv")), expected);
    };
    check(
        "0,1\n60,1\n180,1\n",
        "s.csv:4: column 1 (t_seconds): found \"180\", expected 120, because the series has one value every 60 s",
    );
    check(
        "60,1\n60,1\n",
        "s.csv:3: column 1 (t_seconds): found \"60\", expected a time after 60",
    );
    check(
        "0,NaN\n",
        "s.csv:2: column 2 (value): found \"NaN\", expected a number from 0 to 1000000000000",
    );
    check(
        "0,-1\n",
        "s.csv:2: column 2 (value): found \"-1\", expected a number from 0 to 1000000000000",
    );
    check(
        "0,1\n",
        "s.csv: no rows after the header, expected at least two rows, whose distance is the step",
    );
}

#[test]
fn published_files_parse() {
    let open = |relative: &str| {
        crate::shared_data::find("published_files_parse", relative)
            .map(|path| super::open(&path).unwrap())
    };
    if let Some((file, path)) = open("openb/nodes.csv") {
        let nodes = openb::nodes(file, &path).unwrap();
        assert_eq!(nodes.len(), 1213);
        assert_eq!(nodes.iter().map(|n| n.gpus.len()).sum::<usize>(), 6212);
    }
    for (file, pods) in [
        ("openb/pods_default.csv", 8152),
        ("openb/pods_cpu100.csv", 7853),
        ("openb/pods_gpushare40.csv", 8152),
        ("openb/pods_gpuspec20.csv", 8152),
        ("openb/pods_multigpu20.csv", 8324),
    ] {
        if let Some((file, path)) = open(file) {
            assert_eq!(openb::pods(file, &path).unwrap().len(), pods);
        }
    }
    for (file, jobs) in [
        ("philly-gangs/trace1.csv", 1494),
        ("philly-gangs/trace2.csv", 5755),
        ("philly-gangs/trace3.csv", 992),
        ("philly-gangs/trace3_pr.csv", 992),
    ] {
        if let Some((file, path)) = open(file) {
            assert_eq!(philly::jobs(file, &path).unwrap().len(), jobs);
        }
    }
    for (file, step, values) in [
        ("requests/nasa_aug95_1min.csv", 60, 44_640),
        ("requests/nasa_jul95_1min.csv", 60, 39_692),
        ("requests/nyc_taxi_30min.csv", 1800, 10_320),
        ("requests/twitter_mentions_fb_5min.csv", 300, 15_833),
        ("requests/worldcup98_1min.csv", 60, 125_310),
    ] {
        if let Some((file, path)) = open(file) {
            let series = series::series(file, &path).unwrap();
            assert_eq!((series.step_s, series.values.len()), (step, values));
        }
    }
}

fn all_parsers(bytes: &[u8]) {
    let _ = openb::nodes(bytes, "x");
    let _ = openb::pods(bytes, "x");
    let _ = philly::cluster(bytes, "x");
    let _ = philly::jobs(bytes, "x");
    let _ = series::series(bytes, "x");
}

proptest! {
    #[test]
    fn never_panics_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        all_parsers(&bytes);
    }

    #[test]
    fn never_panics_after_a_legal_header(
        header in prop::sample::select(vec![
            "sn,cpu_milli,memory_mib,gpu,model\n",
            "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n",
            "num_switch,num_node_p_switch,num_gpu_p_node\n",
            "job_id,num_gpu,submit_time,iterations,model_name,iteration_time\n",
            "t_seconds,value\n",
        ]),
        rows in "([0-9a-z.|é-]{0,20},){0,6}[0-9]{0,22}\n?",
        more in "\\PC{0,60}",
    ) {
        all_parsers(format!("{header}{rows}{more}").as_bytes());
    }
}
