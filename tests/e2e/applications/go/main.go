// Command harbour answers every request with a line; -check asks a server that runs.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/google/uuid"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-check" {
		answer, err := http.Get("http://127.0.0.1:8080/")
		if err != nil || answer.StatusCode != http.StatusOK {
			log.Fatal(err)
		}
		return
	}
	name := uuid.NewSHA1(uuid.NameSpaceDNS, []byte("example.org"))
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "first answer of %s\n", name)
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
