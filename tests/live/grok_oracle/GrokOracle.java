import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.*;
import org.elasticsearch.grok.*;

/**
 * Elasticsearch's own grok as a judge. Argument: a file with one tab-separated row for each definition ("def", name,
 * base64 of the pattern) and each pattern in order ("pat", base64). Standard input: one base64 line of UTF-8 for each
 * text. Output for each: the number of the first pattern that matches (or -1), metrictype, the bits of metricscores
 * and metricraw, separated by tabs, "-" where absent, texts in base64.
 */
public class GrokOracle {
    static String text(String base64) {
        return new String(Base64.getDecoder().decode(base64), StandardCharsets.UTF_8);
    }

    static String shown(Object value) {
        if (value == null) return "-";
        if (value instanceof Double d) return String.format("%016x", Double.doubleToRawLongBits(d));
        return Base64.getEncoder().encodeToString(value.toString().getBytes(StandardCharsets.UTF_8));
    }

    public static void main(String[] args) throws IOException {
        Map<String, String> definitions = new LinkedHashMap<>();
        List<String> patterns = new ArrayList<>();
        for (String row : Files.readAllLines(Path.of(args[0]))) {
            String[] part = row.split("\t");
            if (part[0].equals("def")) definitions.put(part[1], text(part[2]));
            else patterns.add(text(part[1]));
        }
        PatternBank bank = GrokBuiltinPatterns.get(true).extendWith(definitions);
        List<Grok> groks = new ArrayList<>();
        for (String pattern : patterns) groks.add(new Grok(bank, pattern, message -> System.err.println(message)));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        PrintStream out = new PrintStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16));
        for (String line; (line = in.readLine()) != null; ) {
            String text = text(line);
            Map<String, Object> found = null;
            int number = -1;
            for (int i = 0; i < groks.size() && found == null; i++) {
                found = groks.get(i).captures(text);
                number = found == null ? -1 : i;
            }
            if (found == null) found = Map.of();
            out.println(number + "\t" + shown(found.get("metrictype")) + "\t" + shown(found.get("metricscores"))
                + "\t" + shown(found.get("metricraw")));
        }
        out.flush();
    }
}
