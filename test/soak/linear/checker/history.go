package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sort"
)

// An operation as a client wrote it: one JSON object a line. Times are nanoseconds of the machine's monotonic clock.
type operation struct {
	ID      string `json:"id"`
	Client  int    `json:"client"`
	Op      string `json:"op"`
	StartNs int64  `json:"start_ns"`
	EndNs   int64  `json:"end_ns"`
	Kind    string `json:"kind"`
	Input   input  `json:"input"`
	Output  output `json:"output"`
}

type input struct {
	Key    int   `json:"key"`
	Value  int64 `json:"value"`
	Expect int64 `json:"expect"`
	From   int   `json:"from"`
	To     int   `json:"to"`
	Amount int64 `json:"amount"`
}

type output struct {
	// What it read in its transaction, by key or account; of a write what it overwrote.
	Seen map[int]row `json:"seen"`
	// Of a cas: whether it found what it expected. Of a transfer: whether there was enough.
	Done bool `json:"done"`
}

// A row and who wrote it: the id of an operation, empty for how it was at the start. Histories without ids do not say.
type row struct {
	Value int64  `json:"value"`
	By    string `json:"by"`
}

const (
	kindOk      = "ok"
	kindFail    = "fail"
	kindUnknown = "unknown"
)

const maxLineBytes = 1 << 20

// An operation whose outcome nobody knows can take place at any time after its start.
const never = math.MaxInt64

// Reads the operations of one model; those of the other may be between them.
func readHistory(from io.Reader, isOfModel func(op string) bool) ([]operation, error) {
	var history []operation
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLineBytes)
	for number := 1; lines.Scan(); number++ {
		var each operation
		if err := json.Unmarshal(lines.Bytes(), &each); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if !isOfModel(each.Op) {
			continue
		}
		switch each.Kind {
		case kindOk, kindFail:
			if each.EndNs < each.StartNs {
				return nil, fmt.Errorf("line %d: it ends before it starts", number)
			}
		case kindUnknown:
			each.EndNs = never
		default:
			return nil, fmt.Errorf("line %d: no kind %q", number, each.Kind)
		}
		history = append(history, each)
	}
	return history, lines.Err()
}

// What settling a history came to.
type settled struct {
	history []operation
	// Unknown outcomes that turned out to have happened, and those that nobody saw.
	happened, unseen int
	violations       []string
}

// Leaves out what failed, and decides unknown outcomes by what others saw, where rows say who wrote them. One that was
// seen happened, and before the first who saw it had ended. One that nobody saw can be left out: each operation reads
// what it touches, so what follows an unseen one in any order would have seen it; it is at the end, or nowhere. (Left
// in, each doubles what porcupine has to try.) A history without ids is judged with all its unknown outcomes.
func settle(history []operation) settled {
	byID := map[string]*operation{}
	for i := range history {
		if history[i].ID != "" {
			byID[history[i].ID] = &history[i]
		}
	}
	tracked := len(byID) == len(history)
	result := settled{}
	seenUntil := map[string]int64{}
	// In the order of their ends, and then what those that were seen have seen themselves.
	var look func(reader *operation, endNs int64)
	look = func(reader *operation, endNs int64) {
		for key, each := range reader.Output.Seen {
			if each.By == "" {
				continue
			}
			writer, known := byID[each.By]
			switch {
			case !known:
				result.violations = append(result.violations, fmt.Sprintf("%s saw at %d what %q wrote, and there is no such operation", reader.ID, key, each.By))
			case writer.Kind == kindFail:
				result.violations = append(result.violations, fmt.Sprintf("%s saw at %d what %s wrote, which was told that it had failed", reader.ID, key, each.By))
			case writer.Kind == kindUnknown:
				if before, ok := seenUntil[each.By]; !ok || endNs < before {
					seenUntil[each.By] = endNs
					look(writer, endNs)
				}
			}
		}
	}
	if tracked {
		for i := range history {
			if history[i].Kind == kindOk {
				look(&history[i], history[i].EndNs)
			}
		}
	}
	for _, each := range history {
		switch each.Kind {
		case kindOk:
			result.history = append(result.history, each)
		case kindUnknown:
			endNs, seen := seenUntil[each.ID]
			if !tracked {
				result.history = append(result.history, each)
			} else if !seen {
				result.unseen++
			} else if endNs < each.StartNs {
				result.violations = append(result.violations, fmt.Sprintf("%s was seen before it had started", each.ID))
			} else {
				each.Kind, each.EndNs = kindOk, endNs
				result.happened++
				result.history = append(result.history, each)
			}
		}
	}
	sort.SliceStable(result.history, func(i, j int) bool { return result.history[i].StartNs < result.history[j].StartNs })
	return result
}

// Whether an operation can have been one that found a row so.
func (each operation) agrees(key int, now row) bool {
	seen, looked := each.Output.Seen[key]
	return !looked || (seen.Value == now.Value && seen.By == now.By)
}
