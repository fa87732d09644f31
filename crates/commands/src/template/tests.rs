use super::*;

const DOC: &str = r#"{"Id":"abc","State":{"Status":"running","Running":true,"Pid":12,"Error":""},
"Config":{"Labels":{"b":"2","a":"1"},"Env":["X=1","Y=2"],"Cmd":null},
"NetworkSettings":{"Ports":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}]},"Networks":{"bridge":{"IPAddress":"172.17.0.2"}}},
"Mounts":[],"Size":1.5,"Big":12345678901}"#;

fn render(template: &str) -> Result<String, String> {
    let data = Value::from_json(DOC.as_bytes()).expect("valid").with_structs();
    Template::parse(template)?.run(data, Mode::Document)
}

#[test]
fn documents() {
    for (template, expect) in [
        ("{{.Id}}", "abc"),
        ("{{.State.Status}} {{.State.Pid}}", "running 12"),
        ("{{.State}}", "{running true 12 }"),
        ("{{.Config.Labels}}", "map[a:1 b:2]"),
        ("{{.Config.Env}}", "[X=1 Y=2]"),
        ("{{.Config.Cmd}}", "[]"),
        ("{{json .State}}", r#"{"Status":"running","Running":true,"Pid":12,"Error":""}"#),
        ("{{.NetworkSettings.Networks.bridge.IPAddress}}", "172.17.0.2"),
        ("{{.NetworkSettings.Ports}}", "map[80/tcp:[{0.0.0.0 8080}]]"),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{index .Config.Labels \"a\"}}", "1"),
        ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "X=1\nY=2\n"),
        ("{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$e}}{{end}}", "X=1,Y=2"),
        ("{{range .Mounts}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}yes{{else}}no{{end}}", "yes"),
        ("{{if eq .State.Status \"exited\"}}a{{else if eq .State.Status \"running\"}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Pid}}{{end}}", "12"),
        ("{{with $x := .Id}}{{$x}}{{end}}", "abc"),
        ("{{$x := 1}}{{range .Config.Env}}{{$x = .}}{{end}}{{$x}}", "Y=2"),
        ("{{range .Config.Env}}{{.}}{{break}}{{end}}", "X=1"),
        ("{{range .Config.Env}}{{if eq . \"X=1\"}}{{continue}}{{end}}{{.}}{{end}}", "Y=2"),
        ("{{.Id | upper | printf \"%5s|%-5s|\" \"x\"}}", "    x|ABC  |"),
        ("{{join .Config.Env \",\"}}", "X=1,Y=2"),
        ("{{split \"a:b\" \":\"}}", "[a b]"),
        ("{{title \"hello world\"}}", "Hello World"),
        ("{{truncate \"hello\" 2}}{{pad \"x\" 1 2}}|", "he x  |"),
        ("{{len .Config.Env}} {{len .Id}}", "2 3"),
        ("{{and true .Id}} {{or \"\" .Id}} {{not true}}", "abc abc false"),
        ("{{printf \"%d %05d %q %v %.2f %t\" 5 42 \"a\" .Id 1.5 true}}", "5 00042 \"a\" abc 1.50 true"),
        ("{{print 1 2 \"a\" 3}}", "1 2a3"),
        ("{{slice .Id 1}} {{slice .Id 0 2}}", "bc ab"),
        ("a {{- \"x\" -}}  b", "axb"),
        ("a{{/* comment */}}b", "ab"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Id}}", "<abc>"),
        ("{{block \"b\" .Id}}[{{.}}]{{end}}", "[abc]"),
        ("{{lt 1 2}} {{ge 2 2}} {{ne 1 2}}", "true true true"),
        ("{{.Size}} {{.Big}}", "1.5 12345678901"),
        ("{{.State.Health}}", "<nil>"),
        ("{{html \"<a>\"}}", "&lt;a&gt;"),
        ("{{`raw`}}", "raw"),
        ("plain", "plain"),
    ] {
        assert_eq!(render(template).as_deref(), Ok(expect), "{template}");
    }
}

#[test]
fn errors() {
    for (template, expect) in [
        ("{{", "template: :1: unclosed action"),
        ("{{.Id", "template: :1: unclosed action"),
        ("{{foo}}", "template: :1: function \"foo\" not defined"),
        ("{{if .Id}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{}}", "template: :1: missing value for command"),
        ("{{.Foo}}", "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\""),
        ("{{.State.Foo}}", "template: :1:8: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\""),
        (
            "{{index .Config.Env 9}}",
            "template: :1:2: executing \"\" at <index .Config.Env 9>: error calling index: index out of range: 9",
        ),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ("{{/* x", "template: :1: unclosed comment"),
    ] {
        assert_eq!(render(template), Err(expect.to_owned()), "{template}");
    }
}

#[test]
fn hostile_templates_end() {
    for template in [
        "{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}".to_owned(),
        "{{if 1}}".repeat(5000),
        format!("{{{{{}", "(".repeat(5000)),
        "{{\"".to_owned(),
        "{{'".to_owned(),
        "{{\"\\".to_owned(),
        "{{$".to_owned(),
        "{{.é}}".to_owned(),
    ] {
        assert!(render(&template).is_err());
    }
}
