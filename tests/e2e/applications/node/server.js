// Answers every request with a line; `--check` asks a server that runs.
const http = require("node:http");
const mime = require("mime-types");
const ms = require("ms");

if (process.argv[2] === "--check") {
  http.get("http://127.0.0.1:8080/", (answer) => process.exit(answer.statusCode === 200 ? 0 : 1));
} else {
  const server = http.createServer((request, response) => {
    response.setHeader("content-type", mime.contentType("answer.txt"));
    response.end(`first answer within ${ms(60000)}\n`);
  });
  server.listen(8080);
  process.on("SIGTERM", () => server.close(() => process.exit(0)));
}
