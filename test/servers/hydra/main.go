// Ory Hydra's command, built as its module says but for one module that must be replaced by a fork.
package main

import "github.com/ory/hydra/v2/cmd"

func main() {
	cmd.Execute()
}
