use passd::sim::*;
use std::io::Write;
// simdump sim ADDRESS --out DIR --every N
fn main(){ let a:Vec<String>=std::env::args().collect(); let s=SimSettings::parse(&a[2]).unwrap(); let n=s.n_frames.unwrap(); let step:u64=a[6].parse().unwrap();
 std::fs::create_dir_all(&a[4]).unwrap();
 let mut c=SimCamera::new(s.clone()); let mut b=vec![0;s.size.area()*3]; let mut t=vec![]; let mut g=std::fs::File::create(format!("{}/truth.jsonl",a[4])).unwrap();
 for i in 0..n { c.render(i*step,&mut b); c.truth(i*step,&mut t); 
  for p in b.chunks_exact_mut(3){ p.swap(0,2); }
  image::RgbImage::from_raw(s.size.width,s.size.height,b.clone()).unwrap().save(format!("{}/{:06}.png",a[4],i)).unwrap();
  let v:Vec<_>=t.iter().map(|t| serde_json::json!({"track":t.track,"class":t.kind as u8,"box":t.bbox.to_array(),"visible":t.visible,"counts":t.counts()})).collect(); writeln!(g,"{}",serde_json::json!({"frame":i,"objects":v})).unwrap(); } }
