//! Memory of the gateway while one bulk answer grows: `citizen.lookup.bulk`, one HTTP/1.1 connection, until so many bytes have come.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use popgate_benches::{Common, Failure, Rig, say};
use popgate_demo::register::{Citizen, Number};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Memory while one bulk answer grows.
#[derive(Parser)]
struct Args {
    /// How long the answer gets, in megabytes
    #[arg(long, default_value_t = 1000)]
    megabytes: u64,
    #[command(flatten)]
    common: Common,
}

fn main() -> ExitCode {
    let args = Args::parse();
    args.common.run(|| measure(&args))
}

fn measure(args: &Args) -> Result<(), Failure> {
    let rig = Rig::start(&args.common, "[cache]\ncapacity = \"16MiB\"")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        rig.ready().await?;
        grow(args, &rig).await
    })
}

async fn grow(args: &Args, rig: &Rig) -> Result<(), Failure> {
    let (mut receive, mut send) = tokio::io::split(rig.client.connect_tls().await?);
    send.write_all(HEAD.as_bytes()).await?;
    let lines: Vec<Vec<u8>> = (0..KNOWN).map(|n| chunk(rig.citizen(n))).collect();
    let sending = async {
        for line in lines.iter().cycle() {
            send.write_all(line).await?;
        }
        Ok::<_, Failure>(())
    };
    let (wanted, since) = (args.megabytes * 1_000_000, Instant::now());
    let receiving = async {
        let mut buffer = vec![0; 256 << 10];
        let (mut received, mut told) = (0_u64, 0_u64);
        say("answer MB  seconds  gateway resident MiB\n")?;
        while received < wanted {
            let count = receive.read(&mut buffer).await?;
            if count == 0 {
                return Err(Failure::from("the answer ended"));
            }
            received += count as u64;
            if received * STEPS / wanted > told {
                told += 1;
                let (took, resident) = (since.elapsed().as_secs_f64(), rig.gateway.resident()? >> 20);
                say(&format!("{:>9}  {took:>7.1}  {resident:>20}\n", received / 1_000_000))?;
            }
        }
        Ok(())
    };
    tokio::select! {
        sent = sending => sent,
        received = receiving => received,
        () = tokio::time::sleep(Duration::from_secs(3600)) => Err("an hour is over".into()),
    }
}

/// One citizen's keys, as a chunk of the request's body.
fn chunk(number: Number) -> Vec<u8> {
    let line = Citizen::of(number).map(|citizen| {
        format!(
            "{{\"id\":\"{number}\",\"full_name\":\"{}\",\"date_of_birth\":\"{}\"}}\n",
            citizen.full_name, citizen.date_of_birth
        )
    });
    let line = line.unwrap_or_default();
    format!("{:x}\r\n{line}\r\n", line.len()).into_bytes()
}

const HEAD: &str = "POST /population/v1/bulk/lookup HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n\
                    gateway-purpose: assessment\r\ntransfer-encoding: chunked\r\n\r\n";
/// How many citizens are asked about in turn.
const KNOWN: u64 = 20_000;
/// How often it is told how far it got.
const STEPS: u64 = 10;
