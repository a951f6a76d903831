//! How the handler's cost for a record grows with what it has to do. In: W1 with ever more subscribers, W2 with ever larger meetings at about the same
//! rate. Out: a line for each, and a picture of both.

use std::path::PathBuf;
use std::process::ExitCode;

use benches::measure::Rounds;
use benches::plot::{Panel, picture};

use crate::compare::{Course, REST, Refused, round};
use crate::load::Outcome;
use crate::side::Side;
use crate::workload::Workload;

const SUBSCRIBERS: [usize; 4] = [100, 200, 400, 800];
/// How many meetings of which size: about 30,000 records a second each.
const MEETINGS: [(usize, usize); 3] = [(19, 5), (4, 10), (1, 20)];

#[derive(clap::Args)]
pub struct Options {
    /// Where the picture goes; none is made if it is not said.
    #[arg(long)]
    svg: Option<PathBuf>,
}

/// Measures all, and draws.
pub async fn run(course: &Course, options: &Options) -> ExitCode {
    let (mut broadcasts, mut meetings) = (Vec::new(), Vec::new());
    let broadcast = SUBSCRIBERS.iter().map(|count| (*count, Workload::broadcast_to(*count)));
    let meeting = MEETINGS.iter().map(|(count, size)| (*size, Workload::meetings_of(*count, *size)));
    for (kind, size, workload) in broadcast.map(|(size, it)| ("W1", size, it)).chain(meeting.map(|(size, it)| ("W2", size, it))) {
        match measure(&workload, course).await {
            Ok(rounds) => {
                let median = |part: fn(&Outcome) -> f64| rounds.iter().map(part).collect::<Rounds>().median();
                println!(
                    "bench-media-growth {kind} size={size} handler_us={:.2} handler_p50_ms={:.2} handler_p99_ms={:.2} handler_core={:.2} load_core={:.2} records_per_s={:.0}",
                    median(Outcome::microseconds),
                    median(|it| it.p50_ms),
                    median(|it| it.p99_ms),
                    median(|it| it.server_cpu / it.seconds),
                    median(|it| it.load_cpu / it.seconds),
                    median(|it| it.records as f64 / it.seconds),
                );
                let points = if kind == "W1" { &mut broadcasts } else { &mut meetings };
                points.push((size as f64, median(Outcome::microseconds)));
            }
            Err(Refused(reason)) => {
                println!("bench-media-growth {kind} size={size} refused: {reason}");
                return ExitCode::FAILURE;
            }
        }
    }
    if let Some(path) = &options.svg {
        let y_label = "CPU per delivered record, µs";
        let panels = [
            Panel { title: "W1: one video publisher", x_label: "subscribers", y_label, points: broadcasts },
            Panel { title: "W2: meetings, 30,000 records a second", x_label: "participants of a meeting", y_label, points: meetings },
        ];
        std::fs::write(path, picture(&panels)).expect("the picture can be written");
    }
    ExitCode::SUCCESS
}

async fn measure(workload: &Workload, course: &Course) -> Result<Vec<Outcome>, Refused> {
    eprintln!("{}: {:.0} records a second", workload.name, workload.records_per_second());
    let mut side = Side::start(&course.handler, workload, course.handler_cores).await;
    side.connect(workload, &workload.members).await;
    tokio::time::sleep(REST).await;
    let mut rounds = Vec::new();
    for _ in 0..course.rounds {
        rounds.push(round(course, "handler", &mut side).await?);
    }
    side.stop().await;
    Ok(rounds)
}
