// linear-checker judges whether a history of operations is linearizable:
//
//	linear-checker -model register|bank [-accounts N -balance N] [-limit 60s] [-draw FILE] HISTORY
//
// HISTORY has an operation a line (see history.go). It prints one JSON object. Exit code 0: linearizable; 1: not; 2: it
// cannot be judged (not a history, or too hard for the time).
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

type verdict struct {
	Ok         bool   `json:"ok"`
	Model      string `json:"model"`
	Operations int    `json:"operations"`
	Partitions int    `json:"partitions"`
	// Unknown outcomes that others saw, and that nobody saw.
	Happened int `json:"happened"`
	Unseen   int `json:"unseen"`
	// Where it is not linearizable, and the first operation that no order has a place for.
	Partition  string   `json:"partition,omitempty"`
	Stuck      string   `json:"stuck,omitempty"`
	Violations []string `json:"violations,omitempty"`
	Error      string   `json:"error,omitempty"`
}

const maxViolations = 20

func main() {
	model := flag.String("model", "", "register or bank")
	accounts := flag.Int("accounts", 0, "how many accounts the bank has")
	balance := flag.Int64("balance", 0, "what each of them has at the start")
	limit := flag.Duration("limit", time.Minute, "how long it may take")
	draw := flag.String("draw", "", "an HTML file to draw what is wrong into")
	flag.Parse()
	result := verdict{Model: *model}
	err := judge(&result, bank{*accounts, *balance}, flag.Args(), time.Now().Add(*limit), *draw)
	if err != nil {
		result.Error = err.Error()
	}
	result.Ok = err == nil && result.Partition == "" && len(result.Violations) == 0
	if len(result.Violations) > maxViolations {
		result.Violations = result.Violations[:maxViolations]
	}
	line, _ := json.Marshal(result)
	fmt.Println(string(line))
	switch {
	case err != nil:
		os.Exit(2)
	case !result.Ok:
		os.Exit(1)
	}
}

func judge(result *verdict, b bank, files []string, until time.Time, draw string) error {
	isOfModel := isRegister
	switch {
	case result.Model == "bank" && b.accounts > 0:
		isOfModel = isBank
	case result.Model != "register":
		return fmt.Errorf("-model is register, or bank with -accounts and -balance")
	}
	if len(files) != 1 {
		return fmt.Errorf("it takes one file")
	}
	file, err := os.Open(files[0])
	if err != nil {
		return err
	}
	defer file.Close()
	all, err := readHistory(file, isOfModel)
	if err != nil {
		return err
	}
	if result.Model == "bank" {
		if err := b.check(all); err != nil {
			return err
		}
		result.Violations = b.violations(all)
	}
	settled := settle(all)
	result.Operations, result.Happened, result.Unseen = len(settled.history), settled.happened, settled.unseen
	result.Violations = append(result.Violations, settled.violations...)
	partitions := registers(settled.history)
	if result.Model == "bank" {
		partitions = b.partitions(settled.history)
	}
	result.Partitions = len(partitions)
	for _, each := range partitions {
		if err := each.judge(result, until, draw); err != nil || result.Partition != "" {
			return err
		}
	}
	return nil
}

func (p partition) judge(result *verdict, until time.Time, draw string) error {
	operations := make([]porcupine.Operation, len(p.history))
	for i, each := range p.history {
		operations[i] = porcupine.Operation{ClientId: each.Client, Input: each, Call: each.StartNs, Return: each.EndNs}
	}
	left := time.Until(until)
	if left <= 0 {
		return fmt.Errorf("there was no time left for %s", p.name)
	}
	// Without what it takes to explain: most histories are good.
	switch porcupine.CheckOperationsTimeout(p.model, operations, left) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("%s: too hard for the time, with %d operations", p.name, len(operations))
	}
	result.Partition = p.name
	_, info := porcupine.CheckOperationsVerbose(p.model, operations, time.Until(until))
	result.Stuck = p.stuck(info)
	if draw != "" {
		described := p.model
		described.DescribeOperation = func(in, _ any) string { return in.(operation).describe() }
		return porcupine.VisualizePath(described, info, draw)
	}
	return nil
}

// The first to end of those that are not in the longest order that was found.
func (p partition) stuck(info porcupine.LinearizationInfo) string {
	var longest []int
	for _, each := range info.PartialLinearizations()[0] {
		if len(each) > len(longest) {
			longest = each
		}
	}
	placed := map[int]bool{}
	for _, i := range longest {
		placed[i] = true
	}
	first := -1
	for i, each := range p.history {
		if !placed[i] && (first < 0 || each.EndNs < p.history[first].EndNs) {
			first = i
		}
	}
	if first < 0 {
		return ""
	}
	before := "nothing"
	if len(longest) > 0 {
		before = p.history[longest[len(longest)-1]].describe()
	}
	return fmt.Sprintf("%s; the order before it ends with %s", p.history[first].describe(), before)
}

func (each operation) describe() string {
	in, _ := json.Marshal(each.Input)
	out, _ := json.Marshal(each.Output)
	return fmt.Sprintf("%s of client %d: %s %s -> %s (%s)", each.ID, each.Client, each.Op, in, out, each.Kind)
}
