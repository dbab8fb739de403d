import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.grok.Grok;
import org.elasticsearch.grok.GrokBuiltinPatterns;
import org.elasticsearch.grok.MatcherWatchdog;
import org.elasticsearch.grok.PatternBank;

/**
 * Elasticsearch's own grok, spoken to line by line.
 *
 * Arguments: a file with one tab-separated row for each definition ("def", name, base64 of the pattern) and for each
 * pattern in order ("pat", base64); the milliseconds that one match may take. The first answer is "ready", or "refused"
 * and why. Then each line of standard input is the base64 of a text in UTF-8, and each line of standard output its
 * answer: "-" where no pattern matches; the number of the first that does, with name (base64), kind and value (base64)
 * of each field; "slow" where matching took too long; "failed" and why. Kinds are those of Java: Double, Float, Long,
 * Integer, Boolean, String.
 */
public final class ElkkitGrok {
    private static final long LOOK_MILLIS = 50;

    public static void main(String[] args) throws IOException {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.US_ASCII);
        List<Grok> groks;
        try {
            groks = compiled(Path.of(args[0]), watchdog(Long.parseLong(args[1])));
        } catch (Exception | StackOverflowError error) {
            out.print("refused\t" + base64(words(error)) + "\n");
            out.flush();
            return;
        }
        out.print("ready\n");
        out.flush();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII), 1 << 16);
        StringBuilder answers = new StringBuilder();
        for (String line; (line = in.readLine()) != null; ) {
            answers.append(answer(groks, text(line))).append('\n');
            if (answers.length() > 1 << 16 || !in.ready()) {
                out.print(answers);
                out.flush();
                answers.setLength(0);
            }
        }
        out.print(answers);
        out.flush();
    }

    private static MatcherWatchdog watchdog(long limit) {
        ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor(task -> {
            Thread thread = new Thread(task, "elkkit-watchdog");
            thread.setDaemon(true);
            return thread;
        });
        return MatcherWatchdog.newInstance(
            Math.min(LOOK_MILLIS, limit),
            limit,
            () -> System.nanoTime() / 1_000_000,
            (delay, task) -> clock.schedule(task, delay, TimeUnit.MILLISECONDS));
    }

    private static List<Grok> compiled(Path setup, MatcherWatchdog watchdog) throws IOException {
        Map<String, String> definitions = new LinkedHashMap<>();
        List<String> patterns = new ArrayList<>();
        for (String row : Files.readAllLines(setup, StandardCharsets.US_ASCII)) {
            String[] part = row.split("\t", -1);
            if (part[0].equals("def")) {
                definitions.put(part[1], text(part[2]));
            } else {
                patterns.add(text(part[1]));
            }
        }
        PatternBank bank = GrokBuiltinPatterns.get(true).extendWith(definitions);
        List<Grok> groks = new ArrayList<>();
        for (String pattern : patterns) {
            groks.add(new Grok(bank, pattern, watchdog, message -> {}));
        }
        return groks;
    }

    private static String answer(List<Grok> groks, String text) {
        try {
            for (int i = 0; i < groks.size(); i++) {
                Map<String, Object> found = groks.get(i).captures(text);
                if (found != null) {
                    return row(i, found);
                }
            }
            return "-";
        } catch (RuntimeException | StackOverflowError error) {
            String words = words(error);
            return words.contains("interrupted after") ? "slow" : "failed\t" + base64(words);
        }
    }

    private static String row(int number, Map<String, Object> found) {
        StringBuilder row = new StringBuilder().append(number);
        for (Map.Entry<String, Object> field : found.entrySet()) {
            Object value = field.getValue();
            if (value instanceof List<?> values) { // the name of several captures
                value = values.isEmpty() ? null : values.get(0);
            }
            if (value != null) {
                row.append('\t').append(base64(field.getKey())).append('\t').append(value.getClass().getSimpleName());
                row.append('\t').append(base64(value.toString()));
            }
        }
        return row.toString();
    }

    private static String words(Throwable error) {
        return error.getMessage() == null ? error.getClass().getSimpleName() : error.getMessage();
    }

    private static String base64(String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }

    private static String text(String base64) {
        return new String(Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
    }
}
